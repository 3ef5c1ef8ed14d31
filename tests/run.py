"""`make test`: every test once, side by side where that is possible; what failed is run once more, alone.

1. Most tests, by three workers (support/parallel.py says how they are shared out).
2. The tests marked `serial`, one after another: they measure time.
3. What failed in 1 or 2, one after another. On a busy machine a process can be late for reasons that are not ours. A
   defect fails again alone; a test that passes alone is named at the end, and is a defect of the test.

`--release NAME` runs only the tests whose result can depend on Kubernetes' release, and what failed of them once more.
NAME is `oldest` (in `make test`), `every` (`make matrix`), or a minor version such as 1.35.

The exit status is pytest's: 0, or 1 for tests that failed twice, or that of a session that could not run.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "rig"))

from cluster_rig.releases import OLDEST, RELEASES, VARIABLE  # noqa: E402  # the rig is not installed

CACHE = ".pytest_cache/run"
WORKERS = os.environ.get("O365MAILER_TEST_WORKERS", "3")
MANY = 25
"""More failures than this are no accident: they are not run again."""

TESTS_FAILED = 1
NO_TESTS_COLLECTED = 5
SIDE_BY_SIDE = (
    f"--numprocesses={WORKERS}",
    "--dist=loadscope",
    "--no-loadscope-reorder",
    "--durations=25",
    "--durations-min=2",
)
ALL = (("--phase=parallel", *SIDE_BY_SIDE), ("--phase=serial",))
OF_RELEASE = (("--phase=release", *SIDE_BY_SIDE),)
AGAIN = ("--last-failed", "--last-failed-no-failures=none")


def pytest(*arguments: str) -> int:
    """Runs pytest with this run's own cache and returns its exit status."""
    print(f"\n== pytest {' '.join(arguments)}", flush=True)
    command = [sys.executable, "-m", "pytest", "--override-ini", f"cache_dir={CACHE}", *arguments]
    return subprocess.run(command, cwd=ROOT).returncode


def failed() -> set[str]:
    """The tests that failed when they ran last."""
    path = ROOT / CACHE / "v" / "cache" / "lastfailed"
    return set(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else set()


def run(phases: tuple[tuple[str, ...], ...], chosen: list[str]) -> int:
    """Runs the phases on the tests that were chosen (none: all of them), and once more what failed."""
    shutil.rmtree(ROOT / CACHE, ignore_errors=True)
    statuses = [pytest(*phase, *chosen) for phase in phases]
    if chosen:
        statuses = [0 if status == NO_TESTS_COLLECTED else status for status in statuses]
    if broken := [status for status in statuses if status not in {0, TESTS_FAILED}]:
        return broken[0]
    first = failed()
    if not first:
        return max(statuses)
    if len(first) > MANY:
        print(f"\n{len(first)} tests failed: too many to run them again alone")
        return TESTS_FAILED
    status = pytest(*AGAIN, *sorted({test.split("::")[0] for test in first}))
    for test in sorted(first - failed()):
        print(f"PASSED ONLY ALONE, mend it: {test}")
    return status


def on_releases(named: str, chosen: list[str]) -> int:
    """Runs the tests that can depend on it on each release that is named, and returns the worst exit status."""
    minors = {"every": [release.minor for release in RELEASES], "oldest": [OLDEST.minor]}.get(named, [named])
    statuses = []
    for minor in minors:
        print(f"\n== Kubernetes {minor}", flush=True)
        os.environ[VARIABLE] = minor
        statuses.append(run(OF_RELEASE, chosen))
    return max(statuses)


def main(arguments: list[str]) -> int:
    """Runs all tests or the chosen ones; with `--release NAME` first, those of a release."""
    if arguments[:1] == ["--release"]:
        return on_releases(arguments[1], arguments[2:])
    return run(ALL, arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
