"""What can go wrong with the rig.

RigError
 ├─ MachineLacksError   this machine cannot do it, and nothing that was tried is at fault: tests are 'not run'
 ├─ BuildError          a program or an image did not build
 ├─ StartError          a process of the cluster died or did not become ready in time
 └─ RefusedError        the cluster we were pointed at must not be used for tests
"""

from __future__ import annotations


class RigError(Exception):
    """Base of the rig's errors; the text says what, where and what to do about it."""


class MachineLacksError(RigError):
    """This machine cannot do it; the text names every missing thing and the command that provides it."""


class BuildError(RigError):
    """A program or an image did not build; the text ends with the tool's own last words."""


class StartError(RigError):
    """A process of the cluster died or missed its deadline; the text ends with its log's last lines."""


class RefusedError(RigError):
    """The given cluster must not be used: the tests scale webhooks to zero and delete what they find."""
