"""What a row needs: a certificate authority, hosts to submit to, and relays that submit to them."""

import json
from collections.abc import Mapping
from pathlib import Path

import trustme

from benchmarks.load import MAILBOX
from benchmarks.missing import NotMeasured
from benchmarks.peers import Peer, free_port
from benchmarks.results import Results
from benchmarks.size import Size


class Rig:
    """Starts hosts and relays for a row."""

    def __init__(self, folder: Path, size: Size, results: Results) -> None:
        self.folder, self.size, self.results = folder, size, results
        authority = trustme.CA()
        self.authority, self.certificate = folder / "ca.crt", folder / "sink.pem"
        authority.cert_pem.write_to_path(str(self.authority))
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(self.certificate))

    def sink(self, *, port: int = 0, delay: float = 0.0) -> Peer:
        """A host that accepts everything. Its reply to a message comes after `delay` seconds."""
        command = ["-m", "benchmarks.sink", str(self.certificate), "--port", str(port), "--delay", str(delay)]
        return Peer("sink", command)

    def mailer(self, port: int, members: Mapping[str, object] | None = None) -> Path:
        """A mailer directory for this port, as the kubelet lays it out. `members` are members of mailer.json."""
        mounted = self.folder / f"mailer-{port}"
        directory = mounted / "..1"
        if directory.exists():
            return mounted
        directory.mkdir(parents=True)
        (mounted / "..data").symlink_to(directory.name)
        document = {
            "schemaVersion": 1,
            "revision": 1,
            "mailbox": MAILBOX,
            "submission": {"host": "127.0.0.1", "port": port},
            "delivery": {"confirmWithin": "60s"},
            **(members or {}),
        }
        (directory / "mailer.json").write_text(json.dumps(document))
        (directory / "access_token").write_text("token-not-a-secret")
        (directory / "ca.crt").write_bytes(self.authority.read_bytes())
        return mounted

    def sidecar(self, port: int, *options: str, members: Mapping[str, object] | None = None) -> Peer:
        """The sidecar as it is shipped, with policy, audit and metrics, submitting to this port."""
        command = ["-m", "o365mailer_sidecar.main", "--mailer-dir", str(self.mailer(port, members))]
        command += ["--listen", "127.0.0.1:0"]
        log = self.folder / f"sidecar-{free_port()}.log"
        return Peer.relay("sidecar", [*command, "--health", "127.0.0.1:0", *options], log=log)

    def spooling(self, port: int, spool: Path, *options: str) -> Peer:
        """The sidecar with a spool in this directory. Raises NotMeasured if it has no spool."""
        try:
            return self.sidecar(port, "--spool-dir", str(spool), *options)
        except RuntimeError as error:
            raise NotMeasured(str(error).strip().splitlines()[-1]) from None

    def plain(self, port: int) -> Peer:
        """The plain relay."""
        return Peer.relay("plain", ["-m", "benchmarks.plain_relay", str(port), str(self.authority)])
