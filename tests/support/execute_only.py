"""Processes as they run in the sidecar's image: their interpreter may be executed and not read, and they have no
capabilities.

The interpreter is a copy of the tests' own in a virtual environment of its own. Its mode decides: 0111 is execute-only
even for its owner, 0555 is an ordinary one. Root reads every file, so as root the processes give up every capability.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

from support.completeness import lacking

EXECUTE_ONLY, ORDINARY = 0o111, 0o555
WITHOUT_CAPABILITIES = ("setpriv", "--securebits", "+noroot", "--inh-caps", "-all", "--bounding-set", "-all")


def without_capabilities(*command: str) -> list[str]:
    """The command as a user who may not read every file. A shell stands between: what may be read at an exec is decided
    by the capabilities of the process that calls it, and setpriv still has them then."""
    if os.geteuid() != 0:
        return list(command)
    dropped = [*WITHOUT_CAPABILITIES, "sh", "-c", 'exec "$@"', "sh"]
    if shutil.which("setpriv") is None or subprocess.run([*dropped, "true"], capture_output=True).returncode != 0:
        lacking("root cannot give up its capabilities", "setpriv is of util-linux; or run as another user")
    return [*dropped, *command]


def interpreter(folder: Path, mode: int) -> Path:
    """A copy of this interpreter with this mode; it has the packages that the tests have."""
    (folder / "bin").mkdir(parents=True)
    copy = folder / "bin" / "python3"
    shutil.copyfile(Path(sys.executable).resolve(), copy)
    copy.chmod(mode)
    (folder / "pyvenv.cfg").write_text(f"home = {Path(sys.base_prefix) / 'bin'}\n")
    packages = folder / "lib" / f"python{sysconfig.get_python_version()}" / "site-packages"
    packages.parent.mkdir(parents=True)
    packages.symlink_to(sysconfig.get_path("purelib"))
    return copy


def instead_of_the_tests(copy: Path) -> Sequence[str]:
    """A prefix (`support.sidecar_process.Sidecar`) that puts this interpreter in the place of the tests' own."""
    return without_capabilities("sh", "-c", 'shift; exec "$0" "$@"', str(copy))
