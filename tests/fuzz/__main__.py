"""`make fuzz`: hostile input until there was enough of it, or the time is up; prints the seed that makes it again."""

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

from fuzz.run import everything


def main() -> int:
    """0 when nothing was found; otherwise the traceback of what was."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description="hostile input for the sidecar")
    parser.add_argument("--inputs", type=int, default=1_000_000, help="commands, messages, documents and files")
    parser.add_argument("--seconds", type=float, default=900, help="stop after so many, whatever has been run")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32), help="the run to repeat")
    chosen = parser.parse_args()
    print(f"seed {chosen.seed}", flush=True)
    began, total = time.monotonic(), 0
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        for result in everything(Path(folder), seed=chosen.seed, inputs=chosen.inputs, seconds=chosen.seconds):
            total += result.inputs
            rate = result.inputs / max(result.seconds, 1e-9)
            taken = ", ".join(f"{word or 'nothing'} {count:,}" for word, count in result.taken.most_common())
            print(
                f"{result.kind}: {result.inputs:,} in {result.seconds:.0f} s, {rate:,.0f} a second; {taken}", flush=True
            )
    print(f"{total:,} inputs in {time.monotonic() - began:.0f} s: nothing found")
    if total < int(chosen.inputs * 0.99):
        print(f"the time was up before all {chosen.inputs:,} had been run", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
