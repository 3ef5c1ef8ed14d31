"""What /metrics shows: a few counters and gauges in Prometheus' text format, without a library (2.6 MB of memory)."""

from collections import Counter
from collections.abc import Callable
from typing import Final

PREFIX: Final = "o365mailer_"

HELP: Final = {
    "messages_total": "Messages by outcome: accepted, refused, deferred, dropped, orphaned.",
    "message_octets_total": "Octets of the messages that Office 365 accepted.",
    "upstream_connections_total": "Connections to Office 365 by result: opened, away, distrusted, token_refused.",
}


class Gauges:
    """Counts, and asks for the rest when it is scraped."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()
        self.watched: dict[str, tuple[str, Callable[[], float]]] = {}

    def count(self, name: str, label: str = "", by: int = 1) -> None:
        """One more. `label` is written whole, such as `outcome="accepted"`."""
        self.counts[name, label] += by

    def watch(self, name: str, text: str, value: Callable[[], float]) -> None:
        """A gauge that is asked when scraped."""
        self.watched[name] = text, value

    def page(self) -> str:
        """The exposition, version 0.0.4."""
        lines: list[str] = []
        for name, text in HELP.items():
            lines += [f"# HELP {PREFIX}{name} {text}", f"# TYPE {PREFIX}{name} counter"]
            for (counted, label), value in sorted(self.counts.items()):
                if counted == name:
                    lines.append(f"{PREFIX}{name}{{{label}}} {value}" if label else f"{PREFIX}{name} {value}")
        for name, (text, ask) in self.watched.items():
            lines += [f"# HELP {PREFIX}{name} {text}", f"# TYPE {PREFIX}{name} gauge", f"{PREFIX}{name} {ask():g}"]
        return "\n".join(lines) + "\n"
