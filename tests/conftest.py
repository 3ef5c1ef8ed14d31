"""What every suite shares: fixtures of the real peers, and the rule that a run in CI leaves nothing out."""

import os
import pathlib
import tempfile

from o365mailer_sidecar.spool.volume import IN_MEMORY, kind, mounted

pytest_plugins = ["completeness", "cluster_fixtures", "emulator_client"]

if kind(pathlib.Path(tempfile.gettempdir()), mounts=mounted()) in IN_MEMORY:
    # Debian 13 and others: a spool refuses to lie there, as it promises.
    os.environ["TMPDIR"] = "/var/tmp"  # noqa: S108  # on disk, by the Filesystem Hierarchy Standard §5.15
    tempfile.tempdir = None
