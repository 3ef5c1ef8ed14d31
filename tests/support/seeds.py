"""The seed of everything random in the tests: one a commit, so that a commit is as green tomorrow as it is today.

O365MAILER_SEED is a number, to have a run again, or `random`, for another one each time (`make soak`).
"""

import os
import random
import subprocess
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

VARIABLE: Final = "O365MAILER_SEED"
RANDOM: Final = "random"


def seed_of(environment: Mapping[str, str], *, tree: str) -> int:
    """What the environment asks for, or what follows from the commit's tree."""
    asked = environment.get(VARIABLE, "")
    if asked == RANDOM:
        return random.SystemRandom().randrange(2**32)
    return int(asked) if asked else zlib.crc32(tree.encode())


def committed_tree(folder: Path) -> str:
    """The hash of HEAD's tree; empty where there is no git, or no repository."""
    try:
        asked = subprocess.run(["git", "rev-parse", "HEAD^{tree}"], cwd=folder, capture_output=True, text=True)
    except OSError:
        return ""
    return asked.stdout.strip() if asked.returncode == 0 else ""


SEED: Final = seed_of(os.environ, tree=committed_tree(Path(__file__).parent))
