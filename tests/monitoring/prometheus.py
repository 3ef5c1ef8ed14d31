"""Prometheus and promtool as Debian packages them; no configuration of the machine's own is read."""

import shutil
import subprocess
from pathlib import Path
from typing import Final

from support.completeness import lacking

ROOT: Final = Path(__file__).parents[2]
ALERTS: Final = ROOT / "charts" / "o365mailer" / "files" / "alerts.yaml"


def program(name: str) -> str:
    """The path of `prometheus` or `promtool`; skips the test where the package is missing."""
    return shutil.which(name) or lacking(f"no {name}", "`make setup-node` installs Debian's package prometheus")


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run promtool to its end."""
    return subprocess.run([program("promtool"), *map(str, arguments)], capture_output=True, text=True, timeout=60)
