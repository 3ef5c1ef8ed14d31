"""`python -m benchmarks.controller`: a controller with 1,000 mailers of 50 applications, on a real API server.

The chart's objects, command and environment (installation.py), the emulator as Entra (mailers.py), and the audit log of
the API server to count requests (audit.py). Two clusters run one after the other and then side by side, because most
rows wait: the first has mailers that are Ready, the second begins with mailers whose Secrets are missing.

A row that fails is told as missing, and the run goes on with the next one.
"""

import argparse
import asyncio
import contextlib
import itertools
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from statistics import fmean
from typing import Final

from benchmarks.installation import USER, Installation, Replica  # the path of tests and rig comes with it

# isort: split
from support.emulator_client import EmulatorClient

from benchmarks.api import Api, Refused
from benchmarks.audit import AuditedControlPlane, Request
from benchmarks.mailers import Mailers, Name, answering, office365, token_path
from benchmarks.missing import NotMeasured
from benchmarks.progress import tell
from benchmarks.results import CONTROLLER, Results
from benchmarks.table import CONTROLLER_LINES, OPERATOR, reported

MINUTE: Final = 60.0
ROW_LIMIT: Final = 30 * MINUTE
"""The longest row takes 11 minutes."""
PROBES: Final = 3
"""Failed liveness probes in a row after which the kubelet restarts a container, as the chart has it."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """What a run measures. Times are seconds."""

    mailers: int
    applications: int
    settle: float
    """After a change, until the usual requests are counted."""
    steady: float
    """For which they are counted."""
    lifetime: float
    """Of tokens that are due while a second replica takes over: after 60 to 75 % of it."""
    after: float
    """After a restart, a takeover or an outage, until its effects are counted: each mailer is looked at in it."""
    late: float
    """After which a due renewal is late: the longest time between two looks at a mailer."""
    hang: float
    """For which Entra does not answer."""
    deletions: int
    """Of token Secrets meanwhile."""
    away: float
    """For which the API server is gone."""
    not_ready: float
    """Until the minute in which the requests for mailers without Secrets are counted."""
    values: tuple[str, ...] = ()
    """Of the chart."""


FULL: Final = Size(
    mailers=1000,
    applications=50,
    settle=60,
    steady=180,
    lifetime=200,
    after=90,
    late=60,
    hang=600,
    deletions=5,
    away=60,
    not_ready=540,
)
QUICK: Final = Size(
    mailers=12,
    applications=4,
    settle=1,
    steady=8,
    lifetime=14,
    after=3,
    late=5,
    hang=4,
    deletions=1,
    away=1,
    not_ready=1,
    values=("controller.leaseDuration=5s", "controller.reconcileInterval=5s"),
)


@dataclass(kw_only=True)
class Stand:
    """A cluster with the product and its mailers, for some rows of a run."""

    size: Size
    results: Results
    plane: AuditedControlPlane
    installation: Installation
    emulator: EmulatorClient
    api: Api
    mailers: Mailers
    replicas: list[Replica] = field(default_factory=list)
    created: tuple[float, float] = (0.0, 0.0)
    """When the mailers were created, in Unix time, and the controller's processor seconds until then."""
    usual: float = 0.0
    """Seconds between two looks at a mailer while nothing happens; 0 until it is measured."""

    @property
    def controller(self) -> Replica:
        """The replica that works."""
        return self.replicas[-1]

    async def start(self, *, leading: bool = True) -> None:
        """Start another replica, and wait until it leads or stands by."""
        replica = self.installation.controller(f"o365mailer-controller-{len(self.replicas)}")
        self.replicas.append(replica)
        awaited = "leading" if leading else "standing by: another replica holds the Lease"
        await asyncio.to_thread(replica.wait_for, awaited)

    def add(self, measure: str, *found: float) -> None:
        """Add figures."""
        self.results.add(measure, OPERATOR, *found)
        tell(f"  {measure}: {', '.join(f'{figure:,.2f}' for figure in found)}")

    async def requests(self, since: float, until: float) -> list[Request]:
        """The requests of the controller between two instants."""
        return await asyncio.to_thread(lambda: list(self.plane.requests(since, until)))


@contextlib.asynccontextmanager
async def standing(folder: Path, size: Size, results: Results) -> AsyncIterator[Stand]:
    """A cluster whose controller leads and has no mailer yet."""
    folder.mkdir()  # noqa: ASYNC240  # nothing else runs yet
    counts = {"mailers": size.mailers, "applications": size.applications}
    with contextlib.ExitStack() as stack:
        plane = stack.enter_context(AuditedControlPlane(directory=folder / "plane", user=USER))
        emulator = stack.enter_context(office365(folder, **counts))
        allowed = [f"allowedHosts.{kind}={{127.0.0.1}}" for kind in ("authority", "submission")]
        installation = Installation(plane, *allowed, *size.values)
        async with Api(plane.kubeconfig) as api:
            stand = Stand(
                size=size,
                results=results,
                plane=plane,
                installation=installation,
                emulator=emulator,
                api=api,
                mailers=Mailers(api, emulator, **counts),
            )
            stack.callback(lambda: [replica.kill() for replica in stand.replicas])
            await stand.mailers.make_namespaces()
            await stand.start()
            yield stand


async def ready(stand: Stand) -> None:
    """New mailers, all at once: until the last of them is Ready."""
    await stand.mailers.give_credentials()
    stand.created = time.time(), stand.controller.processor_seconds()
    began = time.monotonic()
    creating = asyncio.create_task(stand.mailers.create())
    await stand.mailers.wait_until_ready()
    await creating
    stand.add("all Ready after (s)", time.monotonic() - began)
    stand.add("peak memory until all are Ready (MiB)", stand.controller.memory("VmHWM"))


async def logins(stand: Stand) -> None:
    """The first login at Exchange of each new mailer: until all are told, and what a mailer has cost by then."""
    await stand.mailers.wait_until_logged_in()
    ended, (created, used), mailers = time.time(), stand.created, stand.size.mailers
    stand.add("new mailers: all logged in after (s)", ended - created)
    requests = await stand.requests(created, ended)
    stand.add("new mailers: requests for each until it has logged in", len(requests) / mailers)
    spent = stand.controller.processor_seconds() - used
    stand.add("new mailers: processor time for each until it has logged in (ms)", 1000 * spent / mailers)


async def steady(stand: Stand) -> None:
    """Every mailer is Ready, its first login has ended, and nothing happens: what the mailers cost."""
    await stand.mailers.wait_until_logged_in()
    await asyncio.sleep(stand.size.settle)
    began, used = time.time(), stand.controller.processor_seconds()
    await asyncio.sleep(stand.size.steady)
    ended = time.time()
    stand.add("Ready: share of a core (%)", 100 * (stand.controller.processor_seconds() - used) / (ended - began))
    stand.add("Ready: memory (MiB)", stand.controller.memory("VmRSS"))
    requests = await stand.requests(began, ended)
    stand.add("Ready: requests a minute", len(requests) * MINUTE / (ended - began))
    stand.usual = fmean(_gaps(_looks(requests, stand.mailers.names)))


async def restart(stand: Stand) -> None:
    """The controller is restarted, and then killed while a second replica stands by and renewals fall due."""
    size, mailers, emulator = stand.size, stand.mailers, stand.emulator
    due = mailers.names[: len(mailers.namespaces)]  # one of each application
    before = await mailers.tokens(due)
    emulator.settings(tokenLifetime=size.lifetime)
    asked = time.time()
    await mailers.refresh(due, "due-while-a-replica-takes-over")
    await _until(lambda: _all_changed(mailers, before), within=60)
    answering(emulator)
    # The status is written after the token.
    await _until(lambda: _all_due_before(mailers, due, asked + size.lifetime), within=60)
    first, promised = await mailers.tokens(due), await _due_times(mailers, due)

    began = time.time()
    stand.controller.stop()
    await stand.start()
    await asyncio.sleep(max(0.0, asked + 0.5 * size.lifetime - time.time()))
    stand.add("restart: tokens requested", len(mailers.issued(began)))

    await stand.start(leading=False)
    await asyncio.sleep(max(0.0, asked + 0.55 * size.lifetime - time.time()))
    began = time.time()
    stand.replicas[-2].kill()
    await asyncio.to_thread(stand.controller.wait_for, "leading")
    stand.add("takeover: seconds without a leader", time.time() - began)
    await asyncio.sleep(max(size.after, min(max(promised.values()), asked + size.lifetime) + size.late - time.time()))
    tokens = await mailers.tokens(due)
    stand.add("takeover: tokens requested, besides renewals", len(mailers.issued(began).keys() - set(tokens.values())))
    issued = mailers.issued(asked)
    on_time = [
        name for name in due if tokens[name] != first[name] and issued[tokens[name]] <= promised[name] + size.late
    ]
    stand.add("takeover: renewals late", len(due) - len(on_time))


async def hang(stand: Stand) -> None:
    """Entra does not answer, and a tenth of the mailers asks for new tokens."""
    size, mailers, emulator = stand.size, stand.mailers, stand.emulator
    waiting, others = mailers.names[: size.mailers // 10], mailers.names[size.mailers // 10 :]
    deleted, watched = others[: size.deletions], others[size.deletions :]
    if not stand.usual:
        await steady(stand)

    emulator.control("DELETE", "/script")
    emulator.script("token", stall=True, times=None)
    began = time.time()
    await mailers.refresh(waiting, "while-entra-hangs")
    for number, name in enumerate(deleted):
        await asyncio.sleep(max(0.0, began + size.hang * (number + 0.5) / size.deletions - time.time()))
        stand.add("Entra hangs: deleted token Secret back after (s)", await _deleted(stand, name))
    await asyncio.sleep(max(0.0, began + size.hang - time.time()))
    ended = time.time()
    answering(emulator)
    looks = _looks(await stand.requests(began, ended), watched)
    expected = len(watched) * (ended - began) / stand.usual
    stand.add("Entra hangs: looks, of those before (%)", 100 * sum(map(len, looks.values())) / expected)
    bounded = {name: [began, *times, ended] for name, times in looks.items()}
    stand.add("Entra hangs: longest time between two looks (s)", max(_gaps(bounded)))
    await _until(lambda: _all_fresh(mailers, waiting, began), within=2 * MINUTE)
    stand.add("Entra answers again: all tokens new after (s)", time.time() - ended)


async def not_ready(stand: Stand) -> None:
    """The Secret of each application is missing for ten minutes, and then it is there."""
    await stand.mailers.create()
    created = time.time()
    await asyncio.sleep(stand.size.not_ready)
    began = time.time()
    await asyncio.sleep(min(MINUTE, stand.size.not_ready))
    stand.add("not Ready: requests in the tenth minute", len(await stand.requests(began, time.time())))
    before = await stand.requests(created, began)
    stand.add("not Ready: requests a minute until then", len(before) * MINUTE / (began - created))
    await stand.mailers.give_credentials()
    stand.add("not Ready: all Ready after their Secrets came (s)", await stand.mailers.wait_until_ready())


async def away(stand: Stand) -> None:
    """The API server goes away while Entra issues tokens, and comes back."""
    size, mailers = stand.size, stand.mailers
    renewed = mailers.names[: len(mailers.namespaces)]
    began, asked = time.time(), _token_requests(stand)
    await mailers.refresh(renewed, "while-the-api-server-goes-away")
    await _until(lambda: _has(lambda: _token_requests(stand) > asked), within=30, pause=0.01)
    stand.plane.stop_server()
    restarts = await _restarts(stand.controller, for_seconds=size.away)
    unwritten = len(mailers.issued(began))
    stand.plane.start_server()
    await _until(lambda: asyncio.to_thread(stand.plane.api_is_ready), within=60)
    restarts += await _restarts(stand.controller, for_seconds=size.after)
    kept = set((await mailers.tokens(renewed)).values())
    stand.add("API server away: restarts", restarts)
    stand.add("API server away: tokens issued meanwhile", unwritten)
    stand.add("API server away: tokens lost", len(mailers.issued(began).keys() - kept))


def _token_requests(stand: Stand) -> int:
    return int(stand.emulator.counters()["requests"].get("token", 0))


async def _has(look: Callable[[], bool]) -> bool:
    return look()


async def _until(look: Callable[[], Awaitable[bool]], *, within: float, pause: float = 0.5) -> None:
    deadline = time.monotonic() + within
    while not await look():
        assert time.monotonic() < deadline, f"not within {within:g} s"
        await asyncio.sleep(pause)


async def _all_changed(mailers: Mailers, before: dict[Name, str]) -> bool:
    tokens = await mailers.tokens(before)
    return all(tokens[name] != token for name, token in before.items())


async def _all_fresh(mailers: Mailers, chosen: Collection[Name], since: float) -> bool:
    return set((await mailers.tokens(chosen)).values()) <= mailers.issued(since).keys()


async def _all_due_before(mailers: Mailers, chosen: Iterable[Name], instant: float) -> bool:
    return max((await _due_times(mailers, chosen)).values()) < instant


async def _due_times(mailers: Mailers, chosen: Iterable[Name]) -> dict[Name, float]:
    """When the token of each mailer is due for renewal, Unix time, as its status says."""
    found = await mailers.objects()
    return {name: datetime.fromisoformat(found[name]["status"]["nextRefresh"]).timestamp() for name in chosen}


async def _deleted(stand: Stand, name: Name) -> float:
    """Seconds until a token Secret is there again after it was deleted."""
    await stand.api.request("DELETE", token_path(name))
    began = time.monotonic()

    async def there() -> bool:
        with contextlib.suppress(Refused):
            await stand.api.request("GET", token_path(name))
            return True
        return False

    await _until(there, within=stand.size.hang + 2 * MINUTE, pause=0.1)
    return time.monotonic() - began


async def _restarts(controller: Replica, *, for_seconds: float) -> int:
    """How often the kubelet would restart the controller in this time: it ends, or does not answer its probes."""
    ended, failed = time.monotonic() + for_seconds, 0
    while time.monotonic() < ended:
        if controller.process.poll() is not None:
            return 1
        failed = 0 if await asyncio.to_thread(controller.lives) else failed + 1
        if failed == PROBES:
            return 1
        await asyncio.sleep(1)
    return 0


def _looks(requests: Iterable[Request], watched: Collection[Name]) -> dict[Name, list[float]]:
    """When the controller looked at each of these mailers, in Unix time."""
    looks: dict[Name, list[float]] = {name: [] for name in watched}
    for request in requests:
        if request.looks and request.mailer in watched:
            looks[request.mailer].append(request.at)
    return looks


def _gaps(looks: dict[Name, list[float]]) -> Iterator[float]:
    """Seconds between two looks at the same mailer."""
    for times in looks.values():
        yield from (later - earlier for earlier, later in itertools.pairwise(times))


Row = Callable[[Stand], Awaitable[None]]
FIRST: Final[dict[str, Row]] = {
    "ready": ready,
    "logins": logins,
    "steady": steady,
    "restart": restart,
    "hang": hang,
}
SECOND: Final[dict[str, Row]] = {"not-ready": not_ready, "away": away}
"""The rows of the two clusters. The first row of each makes its mailers Ready, so it always runs."""
ALONE: Final = ("ready", "logins", "steady")
"""While these run, there is no second cluster."""


async def measure(size: Size, chosen: Collection[str], results: Results) -> None:
    """Add the figures of these rows, and name those that cannot be measured."""
    first, second = _with_its_first(FIRST, chosen), _with_its_first(SECOND, chosen)
    alone, later = [name for name in first if name in ALONE], [name for name in first if name not in ALONE]
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="o365mailer-bench-")))
        if stand := await _stand(stack, folder / "first", first, size, results):
            await run_rows(stand, FIRST, alone)
        async with asyncio.TaskGroup() as group:
            if other := await _stand(stack, folder / "second", second, size, results):
                group.create_task(run_rows(other, SECOND, second))
            if stand:
                group.create_task(run_rows(stand, FIRST, later))


async def _stand(
    stack: contextlib.AsyncExitStack, folder: Path, rows: Collection[str], size: Size, results: Results
) -> Stand | None:
    """A cluster for these rows; None if there are none, or if it does not start."""
    if not rows:
        return None
    try:
        return await stack.enter_async_context(standing(folder, size, results))
    except Exception as error:  # noqa: BLE001  # whatever it is, the other cluster is measured
        for name in rows:
            results.miss(name, error)
        return None


def _with_its_first(rows: dict[str, Row], chosen: Collection[str]) -> list[str]:
    """The chosen ones of these rows, and the first of them if there is any."""
    found = [name for name in rows if name in chosen]
    return list(dict.fromkeys([*list(rows)[:1], *found])) if found else []


async def run_rows(stand: Stand, rows: dict[str, Row], names: Iterable[str]) -> None:
    """Measure these rows. Without mailers that are Ready, which is what the first one brings, there is no other."""
    first, results = next(iter(rows)), stand.results
    for name in names:
        if first in results.missing:
            results.miss(name, NotMeasured(f"its mailers are not there: row {first} failed"))
            continue
        began = time.monotonic()
        tell(f"{name} ...")
        try:
            async with asyncio.timeout(ROW_LIMIT):
                await rows[name](stand)
        except Exception as error:  # noqa: BLE001  # whatever it is, the next row is measured
            results.miss(name, error)
            answering(stand.emulator)
        took = time.monotonic() - began
        results.conditions[name] = {"seconds": round(took)}
        tell(f"{name}: {took:.0f} s")


def main() -> int:
    """0 if everything was measured, or else 1."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.controller", description=__doc__)
    rows = [*FIRST, *SECOND]
    parser.add_argument("--quick", action="store_true", help="a moment of everything: that it runs; writes nothing")
    parser.add_argument("--only", metavar="ROW", action="append", choices=rows, help=f"of {', '.join(rows)}")
    parser.add_argument("--mailers", type=int, help="another number of them; writes nothing")
    parser.add_argument("--save", action="store_true", help="keep the figures for docs/benchmarks.md (--page makes it)")
    given = parser.parse_args()
    if given.save and (given.quick or given.mailers):
        parser.error(f"--save keeps the figures of {FULL.mailers:,} mailers")
    size = QUICK if given.quick else FULL
    if given.mailers:
        size = replace(size, mailers=given.mailers)
    results = Results(conditions={"controller": vars(size)})
    with reported(results, CONTROLLER_LINES, into=CONTROLLER if given.save else None):
        asyncio.run(measure(size, set(given.only or rows), results))
    return bool(results.missing)


if __name__ == "__main__":
    sys.exit(main())
