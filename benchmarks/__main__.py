"""`python -m benchmarks`: measure, write results/latest.json, make docs/benchmarks.md from it, print the table."""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from benchmarks.cores import ALL, leave_the_relays
from benchmarks.missing import NotMeasured
from benchmarks.page import PAGE, differences, page, with_fleet
from benchmarks.progress import tell
from benchmarks.results import Results
from benchmarks.rig import Rig
from benchmarks.rows import ROWS
from benchmarks.size import FULL, QUICK, Size
from benchmarks.table import table

DISK: Final = "/var/tmp"  # noqa: S108  # tempfile makes the name
"""A directory that survives a reboot (FHS §5.15), so it is on a disk: a sync must cost what it costs there."""


def measured(names: Sequence[str], size: Size) -> Results:
    """Run these rows."""
    results = Results()
    leave_the_relays()
    with tempfile.TemporaryDirectory(dir=DISK, prefix="o365mailer-bench-") as folder:
        os.umask(0o022)  # Postfix's processes are other users
        Path(folder).chmod(0o755)
        for name in names:
            began = time.monotonic()
            tell(f"{name} ...")
            try:
                (own := Path(folder) / name).mkdir()
                ROWS[name](Rig(own, size, results))
            except NotMeasured as unable:
                results.missing[name] = str(unable)
            tell(f"{name}: {time.monotonic() - began:.0f} s")
    for name, why in results.missing.items():
        tell(f"not measured: {name} ({why})")
    results.stamp(datetime.now(UTC), cores=len(ALL))
    return results


def main() -> int:
    """0; with --check, 1 if the page does not match the results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a moment of everything: that it runs; writes nothing")
    parser.add_argument("--only", metavar="ROW", action="append", choices=[*ROWS], help=f"of {', '.join(ROWS)}")
    parser.add_argument("--page", action="store_true", help="measure nothing, make the page from the results")
    parser.add_argument("--check", action="store_true", help="measure nothing, compare the page with the results")
    given = parser.parse_args()
    results = Results.load()
    if given.check:
        found = differences(results, PAGE.read_text())
        sys.stdout.write(f"{found}\n" if found else "")
        return bool(found)
    if not given.page:
        measures = measured(given.only or [*ROWS], QUICK if given.quick else FULL)
        if given.quick:
            results = measures
        else:
            results.update(measures)
            results.save()
    if not given.quick:
        PAGE.write_text(page(results))
    sys.stdout.write(table(results if given.quick else with_fleet(results)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
