"""`python -m o365mailer_release VERB`; needs release/ and rig/ on PYTHONPATH. The Makefile's verbs call it."""

import argparse
import sys
from pathlib import Path

from cluster_rig.errors import RigError

from o365mailer_release import changelog, dist, version
from o365mailer_release.errors import ReleaseError

ROOT = Path(__file__).resolve().parents[2]


def main(arguments: list[str]) -> int:
    """Runs one verb; 0 or 1."""
    top = argparse.ArgumentParser(prog="python -m o365mailer_release", description=__doc__)
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB")
    made = verbs.add_parser("dist", help="make the files of a release in dist/")
    made.add_argument("--tag", default="", help="refuse to go on if the version is another")
    made.add_argument("--registry", default="", help="where the chart finds its images")
    verbs.add_parser("check", help="check that every place says the same version; print it")
    write = verbs.add_parser("version", help="write a version into every place")
    write.add_argument("number", metavar="VERSION")
    verbs.add_parser("notes", help="print the section of the version in CHANGELOG.md")
    chosen = top.parse_args(arguments)
    try:
        print(run(chosen))
    except (ReleaseError, RigError) as error:
        print(f"release: {error}", file=sys.stderr)
        return 1
    return 0


def run(chosen: argparse.Namespace) -> str:
    """What a verb prints."""
    match chosen.verb:
        case "dist":
            made = dist.make(ROOT, ROOT / "dist", tag=chosen.tag, registry=chosen.registry)
            return "\n".join(f"{path.stat().st_size / 1e6:8.2f} MB  {path.relative_to(ROOT)}" for path in made)
        case "check":
            return version.check(ROOT)
        case "notes":
            return changelog.section((ROOT / "CHANGELOG.md").read_text(), version.check(ROOT)).rstrip()
        case _:
            return "\n".join(version.write(ROOT, chosen.number))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
