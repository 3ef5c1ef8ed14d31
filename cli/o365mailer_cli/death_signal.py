"""A child that is told when its parent dies, however that dies: nobody else would end the relay after a SIGKILL of us.

Linux only (prctl(2), PR_SET_PDEATHSIG); elsewhere the child stays, as every child does. The standard library has no
call for it, and a pipe whose end the child watches would make the sidecar know of `o365mailer run`.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Callable
from typing import Final

PR_SET_PDEATHSIG: Final = 1  # <linux/prctl.h>


def told_of_our_death(number: signal.Signals) -> Callable[[], None] | None:
    """What a child has to do between fork and exec to get `number` when the calling thread ends; None off Linux.

    Everything is looked up here: between fork and exec of a program with threads little is safe.
    """
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl
    argument = ctypes.c_ulong(number)
    parent = os.getpid()

    def ask() -> None:
        prctl(PR_SET_PDEATHSIG, argument)
        if os.getppid() != parent:  # it died before we asked, and the kernel tells only what happens later
            os.kill(os.getpid(), number)

    return ask
