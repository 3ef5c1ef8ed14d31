"""Postfix, whose queue is the reference: Debian's package, in a directory of its own.

Configured to be quick: 250 after its own fsync, as always; connections to the host reused on demand, with TLS; no
throttling of its input. It cannot log in with XOAUTH2 by itself, and the host does not ask for it: that is a gift.
"""

import os
import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Final

from benchmarks.cores import on_the_relays
from benchmarks.missing import NotMeasured
from benchmarks.peers import free_port, wait_until_listening

MAIN: Final = """\
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
maillog_file = {folder}/log
maillog_file_prefixes = {folder}
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = postfix.invalid
mydestination =
alias_maps =
local_recipient_maps =
mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks, reject
message_size_limit = 157286400
in_flow_delay = 0
relayhost = [127.0.0.1]:{host_port}
smtp_dns_support_level = disabled
smtp_tls_security_level = encrypt
smtp_tls_CAfile = {authority}
smtp_tls_connection_reuse = yes
smtp_connection_cache_on_demand = yes
smtp_destination_concurrency_limit = 3
"""
"""Three connections, as a mailbox allows."""

MASTER: Final = """\
127.0.0.1:{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
tlsproxy unix - - n - 0 tlsproxy
postlog unix-dgram n - n - 1 postlogd
"""


LAST_WORDS: Final = 500
"""The most characters of its error messages in the result."""


class Postfix:
    """A running instance, on the relay's core with all its processes."""

    name = "postfix"

    def __init__(self, host_port: int, *, authority: Path, folder: Path) -> None:
        """Raises NotMeasured if it cannot run here."""
        self.program = shutil.which("postfix", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        if not self.program:
            raise NotMeasured("Postfix is not installed (Debian package postfix)")
        if os.geteuid() != 0:
            raise NotMeasured("Postfix can be started by root only")
        self.folder, self.port = folder, free_port()
        for name in ("queue", "data"):
            (folder / name).mkdir(parents=True)
        shutil.chown(folder / "data", "postfix")
        self.main = MAIN.format(folder=folder, host_port=host_port, authority=authority)
        self.master = MASTER.format(port=self.port)
        (folder / "main.cf").write_text(self.main)
        (folder / "master.cf").write_text(self.master)
        with on_the_relays():
            self._do("start")
        wait_until_listening(self.port, self.name)

    def _do(self, what: str) -> None:
        done = subprocess.run([str(self.program), "-c", str(self.folder), what], capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"postfix {what}: {done.stderr.strip()[-LAST_WORDS:]}")

    @property
    def configuration(self) -> dict[str, list[str]]:
        """Both configuration files, without the paths of this run."""
        texts = {"main.cf": self.main, "master.cf": self.master}
        return {name: text.replace(str(self.folder), "DIR").splitlines() for name, text in texts.items()}

    def flush(self) -> None:
        """Try all deferred mail now."""
        self._do("flush")

    def __enter__(self) -> "Postfix":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._do("stop")
        lock = self.folder / "queue" / "pid" / "master.pid"
        while _runs(lock):
            time.sleep(0.05)


def _runs(lock: Path) -> bool:
    return Path(f"/proc/{lock.read_text().strip() or 'none'}").exists()
