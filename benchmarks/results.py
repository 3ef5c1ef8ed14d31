"""The results of a run as data. docs/benchmarks.md is made from them."""

import json
import platform
import subprocess
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Self

from benchmarks.progress import tell

LATEST: Final = Path(__file__).parent / "results" / "latest.json"
FLEET: Final = LATEST.with_name("fleet.json")
CONTROLLER: Final = LATEST.with_name("controller.json")
ADMISSION: Final = LATEST.with_name("admission.json")
"""`benchmarks/fleet.py`, `controller.py` and `admission.py` write these, each in a run of its own."""


@dataclass(kw_only=True)
class Results:
    """Figures by measure and by program, one per round or per message, and the conditions of the run."""

    figures: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    conditions: dict[str, Any] = field(default_factory=dict)
    """By row: counts, sizes, a rival's configuration."""
    missing: dict[str, str] = field(default_factory=dict)
    """By row or rival: why it was not measured."""
    machine: dict[str, str] = field(default_factory=dict)
    date: str = ""

    def add(self, measure: str, whose: str, *figures: float) -> None:
        """Add figures."""
        self.figures.setdefault(measure, {}).setdefault(whose, []).extend(round(figure, 4) for figure in figures)

    def miss(self, row: str, why: Exception) -> None:
        """A row was not measured. Its first line is kept; standard error has all of it."""
        text = str(why) or type(why).__name__
        tell(f"{row} is not measured: {type(why).__name__}: {text}")
        self.missing[row] = text.splitlines()[0][:200]

    def of(self, measure: str, whose: str) -> list[float]:
        """The figures; empty if they were not measured."""
        return self.figures.get(measure, {}).get(whose, [])

    def stamp(self, now: datetime, *, cores: int) -> None:
        """Record date and machine."""
        self.date = now.isoformat(timespec="seconds")
        commit = subprocess.run(
            ["git", "describe", "--always", "--dirty"], cwd=LATEST.parent, capture_output=True, text=True
        )
        self.machine = {
            "python": f"{platform.python_implementation()} {platform.python_version()}",
            "system": f"{platform.system()} on {platform.machine()}",
            "cores": str(cores),
            "commit": commit.stdout.strip(),
        }

    def update(self, other: "Results") -> None:
        """Replace the measures that a later run measured again."""
        self.figures |= other.figures
        self.conditions |= other.conditions
        self.missing = {name: why for name, why in self.missing.items() if name not in other.conditions}
        self.missing |= other.missing
        self.date, self.machine = other.date, other.machine

    def save(self, path: Path = LATEST) -> None:
        """Write the results into the repository."""
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(vars(self), indent=1, ensure_ascii=False) + "\n")

    def save_into(self, path: Path) -> None:
        """Write the results of some rows into the repository, and keep those of the others."""
        kept = Results.load(path)
        kept.update(self)
        kept.save(path)

    @classmethod
    def load(cls, path: Path = LATEST) -> Self:
        """The results of an earlier run; empty if there was none."""
        return cls(**json.loads(path.read_text())) if path.exists() else cls()
