"""What every suite shares: fixtures of the real peers, the seed, and the rule that a run in CI leaves nothing out."""

import os
import pathlib
import signal
import tempfile

from hypothesis import HealthCheck, settings
from support.seeds import RANDOM, SEED, VARIABLE

from o365mailer_sidecar.spool.disk import IN_MEMORY, kind, mounted

pytest_plugins = [
    "support.completeness",
    "support.suite_times",
    "support.parallel",
    "support.promises",
    "support.cluster_fixtures",
    "support.emulator_client",
]

# How fast this machine is, and what else runs on it, is no property of the code.
ANY_SPEED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("one a commit", parent=ANY_SPEED, derandomize=True)
settings.register_profile(RANDOM, parent=ANY_SPEED, derandomize=False, print_blob=True)
settings.register_profile("fuzz", parent=settings.get_profile(RANDOM), max_examples=5_000)
settings.load_profile(
    os.environ.get("O365MAILER_PROFILE", RANDOM if os.environ.get(VARIABLE) == RANDOM else "one a commit")
)


# A shell starts a background job with SIGINT ignored, nohup ignores SIGHUP, and the programs under test inherit both.
for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)


def pytest_report_header() -> str:
    """How to have this run again."""
    return f"{VARIABLE}={SEED}"


if kind(pathlib.Path(tempfile.gettempdir()), mounts=mounted()) in IN_MEMORY:
    # Debian 13 and others: a spool refuses to lie there, as it promises.
    os.environ["TMPDIR"] = "/var/tmp"  # noqa: S108  # on disk, by the Filesystem Hierarchy Standard §5.15
    tempfile.tempdir = None
