"""The sidecar's program as it runs in its image: as a user who is not root, in a process that no other can look into.

Run as a program it stands in front of the sidecar's command line. As root it takes on another uid first, and imports
before what it needs later: that user may not be able to read it. The image's interpreter is execute-only, so the kernel
makes its processes not dumpable: this one makes itself so.
"""

import ctypes
import importlib
import os
import pathlib
import pkgutil
import sys
import tempfile

UID = os.getuid() or 65533
"""The user that runs it."""

PR_SET_DUMPABLE = 4


def became_unprivileged() -> None:
    """Be that user, and let no other process of that user look in."""
    import encodings.idna  # noqa: F401  # these are imported late

    import uvloop  # noqa: F401

    import o365mailer_sidecar

    tempfile.gettempdir()
    for module in pkgutil.walk_packages(o365mailer_sidecar.__path__, "o365mailer_sidecar."):
        importlib.import_module(module.name)
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(UID)
        os.setuid(UID)
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


def _main() -> int:
    became_unprivileged()
    if sys.argv[1] == "look":  # the positive control: whether this user can see what a process has open
        list(pathlib.Path(f"/proc/{sys.argv[2]}/fd").iterdir())
        return 0
    from o365mailer_sidecar.main import main

    return main(sys.argv[4:])  # what stands before it is the interpreter, -m, the module


if __name__ == "__main__":
    sys.exit(_main())
