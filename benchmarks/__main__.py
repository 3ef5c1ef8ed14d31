"""`python -m benchmarks [--quick]`: print the table, write results/latest.json and docs/benchmarks.md."""

import argparse
import json
import platform
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from benchmarks import load
from benchmarks.peers import Peer, Rig

ROOT: Final = Path(__file__).parent.parent
OCTETS: Final = 4096
LARGE: Final = 25 * 2**20
APPS: Final = 10

Results = dict[str, dict[str, list[float]]]
"""Measure → relay → one figure a round."""

MEASURES: Final = {
    "kept connections, messages a second": "higher",
    "kept connections, processor time a message (µs)": "lower",
    "new connections, messages a second": "higher",
    "new connections, processor time a message (µs)": "lower",
    "peak memory, three 25 MiB messages at once (MiB)": "lower",
    "idle memory (MiB)": "lower",
    "time until listening (ms)": "lower",
}


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is measured."""

    rounds: int
    messages: int


def measured(results: Results, measure: str, peer: Peer, figure: float) -> None:
    """Note one figure."""
    results.setdefault(measure, {}).setdefault(peer.name, []).append(round(figure, 2))


def throughput(results: Results, peers: list[Peer], size: Size) -> None:
    """Rounds interleaved, so that what the machine does meanwhile falls on both."""
    for kind, run in (("kept", load.kept), ("new", load.new)):
        for number in range(size.rounds + 1):
            for peer in peers:
                before = peer.processor_seconds()
                seconds = load.timed(run, peer.port, apps=APPS, messages=size.messages, octets=OCTETS)
                used = peer.processor_seconds() - before
                if number:  # the first warms up
                    measured(results, f"{kind} connections, messages a second", peer, size.messages / seconds)
                    name = f"{kind} connections, processor time a message (µs)"
                    measured(results, name, peer, used / size.messages * 1e6)


def starts(results: Results, start: Callable[[], Peer], size: Size) -> None:
    """Time until listening, idle memory, and memory under large messages, each in a fresh process."""
    for _ in range(size.rounds):
        with start() as peer:
            measured(results, "time until listening (ms)", peer, peer.listening_after * 1000)
            load.timed(load.kept, peer.port, apps=1, messages=1, octets=OCTETS)
            measured(results, "idle memory (MiB)", peer, peer.memory("VmRSS"))
            load.timed(load.kept, peer.port, apps=3, messages=3, octets=LARGE)
            measured(results, "peak memory, three 25 MiB messages at once (MiB)", peer, peer.memory("VmHWM"))


def table(results: Results) -> str:
    """Markdown: medians, and how many times better the sidecar is."""
    lines = ["| | sidecar | plain relay | sidecar is better by |", "|---|---:|---:|---:|"]
    for measure, better in MEASURES.items():
        ours, theirs = (statistics.median(results[measure][name]) for name in ("sidecar", "plain"))
        ratio = ours / theirs if better == "higher" else theirs / ours
        lines.append(f"| {measure} | {ours:,.0f} | {theirs:,.0f} | {ratio:.2f} times |")
    return "\n".join(lines)


def page(drawn: str, size: Size, now: datetime) -> str:
    """docs/benchmarks.md."""
    return f"""# Benchmarks

`make bench` measures the sidecar beside a plain relay in one run and writes this page. Read the ratios (more than 1:
the sidecar is better): the figures are those of one machine on one day.

{drawn}

Run of {now:%Y-%m-%d}, CPython {platform.python_version()}, {platform.system()} on {platform.machine()}; medians of
{size.rounds} interleaved rounds of {size.messages:,} messages of 4 KiB from {APPS} apps that wait for every reply.
The plain relay is aiosmtpd with a handler and three kept aiosmtplib clients on uvloop (`benchmarks/plain_relay.py`): it
has none of the sidecar's checks. Upstream is a bare TLS sink in a process of its own. Processor time is the relay's
own, user and system.

To reach: 4 times less processor time a message on kept connections, 2.5 times on new ones; 48 MiB at the peak, 32 idle.
An app that waits for each reply makes four reads and four writes a message on either relay: where the system's calls
are slow (a sandboxed kernel, a loaded machine), they are what is left of the sidecar's time, and the first ratio is
smaller than where they are quick.
"""


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="one short round: that it runs, not how fast; writes nothing"
    )
    quick = parser.parse_args().quick
    size = Size(rounds=1, messages=200) if quick else Size(rounds=5, messages=1000)
    results: Results = {}
    with tempfile.TemporaryDirectory() as folder:
        rig = Rig(Path(folder))
        with rig.sink:
            with rig.sidecar() as sidecar, rig.plain() as plain:
                throughput(results, [sidecar, plain], size)
            starts(results, rig.sidecar, size)
            starts(results, rig.plain, size)
    drawn = table(results)
    print(drawn)  # the table is what this program is for
    if not quick:
        now = datetime.now(UTC)
        document = {"date": now.isoformat(), "python": platform.python_version(), "results": results}
        (ROOT / "benchmarks" / "results").mkdir(exist_ok=True)
        (ROOT / "benchmarks" / "results" / "latest.json").write_text(json.dumps(document, indent=1) + "\n")
        (ROOT / "docs" / "benchmarks.md").write_text(page(drawn, size, now))


if __name__ == "__main__":
    main()
