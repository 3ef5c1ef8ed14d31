"""`python -m apps.record [--check]`: run every program in every scenario, and write the results and docs/apps.md."""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from apps import driver, page
from apps.programs import PROGRAMS
from apps.scenarios import SCENARIOS
from support.emulator_client import EmulatorClient


def measured() -> tuple[page.Results, page.Waits]:
    """A run. Raises MachineLacksError before it begins where a program is missing."""
    environments = {program.name: driver.prepared(program) for program in PROGRAMS}
    found: page.Results = {}
    with EmulatorClient() as emulator:
        for program in PROGRAMS:
            print(program.name, file=sys.stderr)
            with tempfile.TemporaryDirectory() as folder, driver.stage(emulator, Path(folder)) as stage:
                for scenario in SCENARIOS:
                    run = driver.run(program, scenario, stage=stage, environment=environments[program.name])
                    found.setdefault(program.name, {})[scenario.name] = driver.outcome(scenario, run)
        print("how long each waits", file=sys.stderr)
        with tempfile.TemporaryDirectory() as folder, driver.stage(emulator, Path(folder)) as stage:
            waited = driver.patiences(PROGRAMS, environments, stage=stage, at_most=page.AT_MOST)
    return found, {name: None if seconds is None else round(seconds) for name, seconds in waited.items()}


def main() -> None:
    """Write both files, or only compare them."""
    parser = argparse.ArgumentParser(prog="python -m apps.record", description=__doc__)
    parser.add_argument("--check", action="store_true", help="only compare docs/apps.md with results.json")
    if parser.parse_args().check:
        if page.PAGE.read_text(encoding="utf-8") != page.page(page.results(), page.waits()):
            sys.exit("docs/apps.md is not what tests/apps/results.json and waits.json say: run `make apps`")
        return
    found, waits = measured()
    page.RESULTS.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    page.WAITS.write_text(json.dumps(waits, indent=2) + "\n", encoding="utf-8")
    page.PAGE.write_text(page.page(found, waits), encoding="utf-8")


if __name__ == "__main__":
    main()
