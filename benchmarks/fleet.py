"""Real sidecars that share one mailbox of the emulator: `python -m benchmarks.fleet`, seven minutes with 50 of them.

Every pod has as much to send as goes: three sessions, each of which sends a message until it is taken, whatever it is
told, until the pods have delivered so many each on average. Printed are the figures that a fleet is held to: the share
of the slots' time in which a message was submitted, the answers of 432 for each message, Jain's index of what the pods
delivered, and what was acknowledged and did not arrive. With --flood one pod is backlogged and each of the others has
one message a minute.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from benchmarks.peers import Peer, free_port
from benchmarks.results import FLEET, Results
from o365mailer_emulator.client import Control

SESSIONS: Final = 3
"""Apps at once in a pod with queued mail: as many as the mailbox has slots."""

AGAIN: Final = 0.5
"""Seconds until an app that got 451 tries again."""

TABLE_PODS: Final = 50
"""The measures of the table in docs/benchmarks.md."""

MINUTE: Final = 60.0


class Emulator:
    """The emulator's process."""

    def __init__(self, folder: Path, *, settings: dict[str, Any]) -> None:
        self.authority, state = folder / "ca.crt", folder / "state.json"
        ports = {name: free_port() for name in ("entra", "smtp", "control")}
        command = ["-m", "o365mailer_emulator.main", "--state-file", str(state), "--ca-file", str(self.authority)]
        for name, port in ports.items():
            command += [f"--{name}", f"127.0.0.1:{port}"]
        self.peer = Peer("emulator", command, log=folder / "emulator.log", port=ports["control"])
        while not state.exists():  # written once everything listens
            time.sleep(0.05)
        self.state: dict[str, Any] = json.loads(state.read_text())
        self.control = Control(self.state["controlUrl"])
        self.control.settings(**settings)

    def mailer(self, folder: Path) -> Path:
        """A mailer directory for this emulator."""
        folder.mkdir()
        smtp = self.state["smtp"]
        document = {
            "schemaVersion": 1,
            "revision": 1,
            "mailbox": self.state["mailbox"],
            "submission": {"host": smtp["host"], "port": smtp["port"]},
        }
        (folder / "mailer.json").write_text(json.dumps(document))
        (folder / "access_token").write_text(self.control.issue_token(lifetime=7200))
        (folder / "ca.crt").write_bytes(self.authority.read_bytes())
        return folder


class Fleet:
    """The apps of the pods, and the replies that they got."""

    def __init__(self, *, mailbox: str, ports: list[int]) -> None:
        self.mailbox, self.ports = mailbox, ports
        self.delivered = [0] * len(ports)
        self.waits: list[float] = []
        self.numbers = itertools.count()

    async def app(self, pod: int, *, every: float) -> None:
        """Send forever, a message each `every` seconds, or as fast as the relay accepts them."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.ports[pod])
        await reader.readline()
        while True:
            began = time.monotonic()
            while True:
                if await self._taken(pod, reader, writer):
                    break
                await asyncio.sleep(AGAIN)
            self.delivered[pod] += 1
            self.waits.append(time.monotonic() - began)
            await asyncio.sleep(max(every - (time.monotonic() - began), 0))

    async def _taken(self, pod: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        text = f"From: {self.mailbox}\r\nX-Pod: {pod}\r\nX-Number: {next(self.numbers)}\r\n\r\nbody\r\n.\r\n"
        envelope = ("HELO app", f"MAIL FROM:<{self.mailbox}>", "RCPT TO:<a@example.com>", "DATA")
        for command in envelope:
            writer.write(f"{command}\r\n".encode())
            if not await self._agreed(reader):
                return False
        writer.write(text.encode())
        return await self._agreed(reader)

    @staticmethod
    async def _agreed(reader: asyncio.StreamReader) -> bool:
        reply = await reader.readline()
        if not reply or reply.startswith(b"421"):
            raise ConnectionError(f"the sidecar ended the session: {reply!r}")
        return reply[:1] in b"23"


async def send(fleet: Fleet, *, each: int, flood: bool) -> None:
    """Let them send until they have delivered so many each on average; flooded: the others so many each."""
    apps = []
    for pod in range(len(fleet.ports)):
        calm = flood and pod > 0
        apps += [fleet.app(pod, every=MINUTE if calm else 0) for _ in range(1 if calm else SESSIONS)]
    tasks = [asyncio.ensure_future(app) for app in apps]
    while sum(fleet.delivered[flood:]) < each * (len(fleet.ports) - flood):
        await asyncio.sleep(0.05)
        for task in tasks:
            if task.done():
                task.result()  # raises what went wrong
    for task in tasks:
        task.cancel()


@contextlib.contextmanager
def sidecars(folder: Path, mailer: Path, *, pods: int) -> Iterator[list[int]]:
    """The ports of the relays, while they run."""
    with contextlib.ExitStack() as stack:
        ports = []
        for pod in range(pods):
            log = folder / f"sidecar-{pod}.log"
            command = ["-m", "o365mailer_sidecar.main", "--mailer-dir", str(mailer), "--listen", "127.0.0.1:0"]
            peer = Peer("sidecar", [*command, "--health", "127.0.0.1:0", "--log-level", "warning"], log=log)
            stack.callback(peer.kill)
            ports.append(peer.port)
        yield ports


def jain(shares: list[int]) -> float:
    """Jain's index of fairness: (Σx)² / (n Σx²) (Jain, Chiu, Hawe 1984)."""
    return sum(shares) ** 2 / (len(shares) * sum(share * share for share in shares))


def report(fleet: Fleet, emulator: Emulator, *, acknowledged: int, flood: bool) -> list[str]:
    """The figures as text, one line each."""
    figures = emulator.control.statistics(by="X-Pod")[emulator.state["mailbox"]]
    span = figures["lastEnded"] - figures["firstBegan"]
    waits = sorted(fleet.waits)
    return [
        f"pods {len(fleet.ports)}, delivered {figures['delivered']} in {span:.0f} s",
        f"slot time used {figures['slotBusySeconds'] / (figures['slots'] * span):.3f}",
        f"432 for each delivered message {figures['crowded'] / figures['delivered']:.2f}",
        f"Jain's index{' of the calm pods' if flood else ''} {jain(fleet.delivered[flood:]):.3f}",
        f"fewest and most from one pod {min(fleet.delivered[flood:])}, {max(fleet.delivered[flood:])}",
        f"seconds until taken: median {waits[len(waits) // 2]:.1f}, longest {waits[-1]:.1f}",
        f"lost {max(acknowledged - figures['delivered'], 0)}",
    ]


def results(fleet: Fleet, emulator: Emulator, *, acknowledged: int, options: argparse.Namespace) -> Results:
    """The figures as data, under the names of the table."""
    figures = emulator.control.statistics(by="X-Pod")[emulator.state["mailbox"]]
    span = figures["lastEnded"] - figures["firstBegan"]
    measured = Results(conditions={"fleet": vars(options)})
    for measure, figure in (
        ("slot time used (%)", 100 * figures["slotBusySeconds"] / (figures["slots"] * span)),
        ("answers of 432 a delivered message", figures["crowded"] / figures["delivered"]),
        ("Jain's index", jain(fleet.delivered)),
        ("lost", max(acknowledged - figures["delivered"], 0)),
    ):
        measured.add(f"fleet: {measure}", "sidecar", figure)
    measured.stamp(datetime.now(UTC), cores=os.cpu_count() or 1)
    return measured


def main() -> int:
    """The exit status: 0 if nothing was lost."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fleet", description=__doc__)
    parser.add_argument("--pods", type=int, default=50)
    parser.add_argument("--each", type=int, default=20, help="messages of each pod, on average")
    parser.add_argument("--seconds", type=float, default=1.0, help="that a submission takes")
    parser.add_argument("--slots", choices=["connection", "submission"], default="connection")
    parser.add_argument("--crowded-at", choices=["auth", "body"], default="body")
    parser.add_argument("--flood", action="store_true", help="one pod is backlogged, the others have a mail a minute")
    parser.add_argument("--save", action="store_true", help="keep the figures for docs/benchmarks.md (--page makes it)")
    options = parser.parse_args()
    if options.save and (options.pods != TABLE_PODS or options.flood):
        parser.error(f"--save keeps the figures of {TABLE_PODS} backlogged pods")
    with tempfile.TemporaryDirectory(prefix="o365mailer-fleet-") as name:
        folder = Path(name)
        fixed = {"pace": 0, "lockAfter": {"errors": 0}}  # the measure is the sharing of slots alone
        asked = {"slots": options.slots, "crowdedAt": options.crowded_at, "submissionSeconds": options.seconds}
        emulator = Emulator(folder, settings=fixed | asked)
        try:
            with sidecars(folder, emulator.mailer(folder / "mailer"), pods=options.pods) as ports:
                fleet = Fleet(mailbox=emulator.state["mailbox"], ports=ports)
                asyncio.run(send(fleet, each=options.each, flood=options.flood))
                acknowledged = sum(fleet.delivered)
                lines = report(fleet, emulator, acknowledged=acknowledged, flood=options.flood)
                if options.save:
                    results(fleet, emulator, acknowledged=acknowledged, options=options).save(FLEET)
        finally:
            emulator.peer.kill()
    sys.stdout.write("\n".join(lines) + "\n")
    return int(not lines[-1].endswith(" 0"))


if __name__ == "__main__":
    sys.exit(main())
