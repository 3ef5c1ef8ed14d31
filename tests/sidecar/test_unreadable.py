"""In a pod that shares its processes, an app of the sidecar's own uid cannot read the token through /proc."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support import execute_only
from support.emulator_client import EmulatorClient
from support.execute_only import EXECUTE_ONLY, ORDINARY
from support.sidecar_process import MailerDirectory, Sidecar, Wire, running

from o365mailer_sidecar import await_ready

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux'")

TEXT = b"Subject: x\r\n\r\nbody\r\n"
LOOK = """\
import json, os, sys
pid, file = sys.argv[1:]
found = {}
for name, look in {
    "file": lambda: open(f"/proc/{pid}/root{file}").read(),
    "environ": lambda: open(f"/proc/{pid}/environ").read(),
    "descriptor": lambda: os.readlink(f"/proc/{pid}/fd/2"),
    "memory": lambda: open(f"/proc/{pid}/mem", "rb").close() or "opened",
    "maps": lambda: open(f"/proc/{pid}/maps").read(),
    "directory": lambda: os.readlink(f"/proc/{pid}/cwd"),
}.items():
    try:
        found[name] = look()
    except PermissionError:
        pass
json.dump(found, sys.stdout)
"""


def seen_by_a_neighbour(pid: int, file: Path) -> dict[str, object]:
    """What a process of the same uid, without capabilities, reads of another one: by name, without what is refused."""
    command = execute_only.without_capabilities(sys.executable, "-I", "-S", "-c", LOOK, str(pid), str(file))
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


@pytest.mark.promise("token-only-in-the-sidecar")
@pytest.mark.parametrize("mode", [EXECUTE_ONLY, ORDINARY])
def test_another_process_of_the_same_uid_reads_nothing_of_an_execute_only_relay(
    emulator: EmulatorClient, directory: MailerDirectory, tmp_path: Path, mode: int
) -> None:
    """The ordinary interpreter is the control: there the same neighbour reads the token."""
    token = emulator.issue_token()
    directory.write_for(emulator, token=token)
    copy = execute_only.interpreter(tmp_path / "venv", mode)
    with running(
        directory.path,
        prefix=execute_only.instead_of_the_tests(copy),
        arguments=["--spool-dir", str(tmp_path / "spool")],
        environment={"CANARY": "not-a-secret"},
    ) as relay:
        with Wire(relay.port) as app:
            app.begin()
            assert app.deliver(TEXT).startswith("250 2.0.0 Office 365 has it")
        found = seen_by_a_neighbour(relay.process.pid, directory.path / "..data" / "access_token")
    if mode == EXECUTE_ONLY:
        assert found == {}
    else:
        assert found["file"] == token
        assert "CANARY=not-a-secret" in str(found["environ"])
        assert found["descriptor"]


@pytest.mark.promise("token-only-in-the-sidecar")
@pytest.mark.parametrize("mode", [EXECUTE_ONLY, ORDINARY])
def test_the_hook_is_unreadable_from_its_first_instruction_and_works(tmp_path: Path, mode: int) -> None:
    copy = execute_only.interpreter(tmp_path / "venv", mode)
    command = execute_only.without_capabilities(str(copy), "-I", "-S", await_ready.__file__)
    with running(tmp_path / "mailer") as relay:
        assert subprocess.run([*command, str(relay.health_port), "20"], timeout=30).returncode == 0
    waiting = subprocess.Popen([*command, "1", "600", str(tmp_path / "log")])
    try:
        while not Path(f"/proc/{waiting.pid}/cmdline").read_bytes().startswith(bytes(copy) + b"\0"):
            assert waiting.poll() is None
        assert bool(seen_by_a_neighbour(waiting.pid, Path("/etc/passwd"))) == (mode == ORDINARY)
    finally:
        waiting.kill()
        waiting.wait()


@pytest.mark.promise("hung-relay-ends", "token-only-in-the-sidecar")
def test_what_an_execute_only_interpreter_needs_to_be_is_there(tmp_path: Path) -> None:
    """Python never reads its own program: venv, isolated mode, extension modules, archives, faulthandler, children."""
    copy = execute_only.interpreter(tmp_path / "venv", EXECUTE_ONLY)
    program = (
        "import faulthandler, subprocess, sys, uvloop, msgspec, zipimport, ssl\n"
        "assert sys.executable == sys.argv[1], sys.executable\n"
        "assert sys.prefix != sys.base_prefix\n"
        "faulthandler.dump_traceback()\n"
        "subprocess.run([sys.executable, '-I', '-c', 'import uvloop'], check=True)\n"
        "try:\n    open(sys.executable)\nexcept PermissionError:\n    sys.exit(7)\n"
    )
    command = execute_only.without_capabilities(str(copy), "-I", "-c", program, str(copy))
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == 7, done.stderr
    assert "most recent call first" in done.stderr


def test_a_relay_of_it_that_hangs_still_says_where(tmp_path: Path) -> None:
    from support import hanging_relay

    copy = execute_only.interpreter(tmp_path / "venv", EXECUTE_ONLY)
    relay = Sidecar(
        tmp_path / "mailer",
        prefix=execute_only.instead_of_the_tests(copy),
        environment=hanging_relay.environment(tmp_path / "site", limit=1, statement="while True: pass"),
    )
    relay.process.send_signal(hanging_relay.HANG)
    assert relay.ended() == 1
    assert "the_hang" in relay.stderr().partition("Timeout (")[2]
