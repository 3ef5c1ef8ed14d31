"""The pauses between two reconciles, and what happens when the watch is silent: in virtual time."""

import asyncio
import datetime
from collections.abc import AsyncIterator, Awaitable, Callable
from types import SimpleNamespace
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import virtual_time

from controller.simulated import requests_a_minute
from o365mailer_operator.clock import Clock
from o365mailer_operator.controller.agreement import INTERVAL, LONGEST_SILENCE, RESTART_AFTER, Agreement
from o365mailer_operator.controller.cluster import Cluster
from o365mailer_operator.controller.cluster_errors import Unavailable
from o365mailer_operator.controller.mailer import Key, Manifest
from o365mailer_operator.controller.mailer_cache import MailerCache
from o365mailer_operator.controller.main import RECONCILE_LIMIT, Controller
from o365mailer_operator.controller.options import parse
from o365mailer_operator.controller.pauses import pause_after_failures, unready_jittered, unready_pause
from o365mailer_operator.controller.reconcile import Reconciler
from o365mailer_operator.controller.watch import WatchEnded

RECONCILE_INTERVAL = 60.0


@pytest.mark.promise("ready-after-its-secret")
@given(st.floats(0, 1500), st.lists(st.floats(0, 1), min_size=200, max_size=200))
def test_a_secret_is_seen_within_30_seconds_soon_after_a_change_and_within_90_later(
    arrival: float, jitters: list[float]
) -> None:
    now = 0.0
    for jitter in jitters:
        pause = unready_pause(now, interval=RECONCILE_INTERVAL)
        now += unready_jittered(pause, random=jitter)
        if now >= arrival:
            break
    assert now >= arrival
    assert now - arrival < (30 if arrival < 300 else 90)


def test_a_mailer_that_is_not_ready_is_reconciled_often_at_first_and_every_interval_later() -> None:
    pauses = [unready_pause(age, interval=RECONCILE_INTERVAL) for age in (0, 119, 120, 135, 299, 300, 86400)]
    assert pauses == [10, 10, 15, 22.5, 25, 60, 60]


def test_failed_reconciles_are_repeated_ever_more_rarely_and_not_in_step() -> None:
    pauses = [pause_after_failures(failures, random=0.5) for failures in (1, 2, 3, 20, 10**6)]
    assert pauses == [5, 7.5, 11.25, 60, 60]
    assert [pause_after_failures(9, random=random) for random in (0, 1)] == pytest.approx([48, 72])


class Reconciled:
    """A controller. The test decides how its reconciles end."""

    def __init__(self, reconcile: Callable[[Key], Awaitable[float | None]]) -> None:
        self.controller = Controller(parse([], {}), cast("Cluster", Api()))
        self.controller.reconciler = cast("Reconciler", SimpleNamespace(reconcile=reconcile))

    def counted(self, result: str) -> bool:
        """Whether one reconcile ended so, and no other in another way."""
        lines = self.controller.metrics.exposition().decode().splitlines()
        return [line for line in lines if line.startswith("o365mailer_reconciles_total")] == [
            f'o365mailer_reconciles_total{{result="{result}"}} 1.0'
        ]


def test_a_reconcile_that_does_not_end_is_no_defect_of_the_controller(caplog: pytest.LogCaptureFixture) -> None:
    async def forever(_: Key) -> float | None:
        await asyncio.sleep(1e9)
        return None

    async def play() -> None:
        reconciled = Reconciled(forever)
        pause = await reconciled.controller.reconcile(Key("app", "noreply"))
        assert asyncio.get_running_loop().time() == pytest.approx(RECONCILE_LIMIT)
        assert pause == pytest.approx(5, rel=0.2)
        assert reconciled.counted("timeout")

    virtual_time.run(play())
    [record] = caplog.records
    assert (record.levelname, vars(record)["error"]) == ("WARNING", "no end within 120 s")


def test_of_reconciles_that_the_api_server_does_not_answer_the_first_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def away(_: Key) -> float | None:
        raise Unavailable("away")

    async def play() -> None:
        reconciled = Reconciled(away)
        pauses = [await reconciled.controller.reconcile(Key("app", "noreply")) or 0.0 for _ in range(12)]
        assert 4 <= pauses[0] <= 6
        assert 48 <= pauses[-1] <= 72

    virtual_time.run(play())
    assert [record.levelname for record in caplog.records if record.levelname != "DEBUG"] == ["WARNING"]


def test_a_defect_in_a_reconcile_is_told_as_one(caplog: pytest.LogCaptureFixture) -> None:
    async def defective(_: Key) -> float | None:
        raise KeyError("a defect")

    async def play() -> None:
        reconciled = Reconciled(defective)
        assert await reconciled.controller.reconcile(Key("app", "noreply")) == 60
        assert reconciled.counted("internal_error")

    virtual_time.run(play())
    [record] = caplog.records
    assert record.levelname == "ERROR"


class Api:
    """An API server that lists mailers: what it says, and how often it was asked."""

    def __init__(self, *generations: int) -> None:
        self.generations = generations
        self.asked = 0
        self.away = False

    async def list_metadata(self, *_: object, **__: object) -> AsyncIterator[Manifest]:
        """Mailers named by their number."""
        self.asked += 1
        if self.away:
            raise Unavailable("away")
        for number, generation in enumerate(self.generations):
            yield metadata(number, generation)


def metadata(number: int, generation: int) -> Manifest:
    """A mailer's metadata."""
    name = f"mailer-{number}"
    version = str(generation)
    return {"namespace": "app", "name": name, "uid": name, "generation": generation, "resourceVersion": version}


def deliver(cache: MailerCache, number: int, generation: int) -> bool:
    """What the watch does."""
    return cache.deliver({"metadata": metadata(number, generation), "spec": {}}, deleted=False)


class Compared:
    """An Agreement in virtual time, and the mailers that it asked to reconcile."""

    def __init__(self, api: Api) -> None:
        self.cache = MailerCache()
        self.noticed: list[Key] = []
        self.agreement = Agreement(
            cluster=cast("Cluster", api),
            cache=self.cache,
            namespaces=(),
            notice=self.noticed.append,
            leading=lambda: True,
            clock=Clock(
                now=lambda: datetime.datetime.fromtimestamp(1e9 + asyncio.get_running_loop().time(), datetime.UTC),
                monotonic=lambda: asyncio.get_running_loop().time(),
            ),
        )


@pytest.mark.promise("watch-is-checked")
def test_a_watch_that_delivers_what_is_listed_agrees_every_five_minutes() -> None:
    async def play() -> None:
        api = Api(1, 1)
        compared = Compared(api)
        for number in (0, 1):
            assert deliver(compared.cache, number, 1)
            assert not deliver(compared.cache, number, 1), "a relist asks for no reconcile"
        running = asyncio.create_task(compared.agreement.run())
        await asyncio.sleep(10 * INTERVAL + 1)
        assert not compared.agreement.stale
        assert compared.agreement.last_wall == 1e9 + 10 * INTERVAL
        assert (api.asked, compared.noticed) == (11, [])
        api.away = True
        await asyncio.sleep(LONGEST_SILENCE)
        assert compared.agreement.stale
        running.cancel()

    virtual_time.run(play())


@pytest.mark.promise("watch-is-checked")
def test_a_mailer_that_the_watch_lost_is_looked_at_and_a_watch_that_stays_silent_ends_the_process() -> None:
    async def play() -> None:
        compared = Compared(Api(1, 2))
        deliver(compared.cache, 0, 1)
        deliver(compared.cache, 1, 1)  # its second generation never comes
        deliver(compared.cache, 2, 1)  # nor does its deletion
        running = asyncio.create_task(compared.agreement.run())
        await asyncio.sleep(60)
        assert compared.agreement.stale
        assert sorted(compared.noticed) == [Key("app", "mailer-1"), Key("app", "mailer-2")]
        assert not running.done()
        with pytest.raises(WatchEnded, match="did not deliver"):
            await running
        assert asyncio.get_running_loop().time() <= RESTART_AFTER + 60

    virtual_time.run(play())


@pytest.mark.promise("watch-is-checked")
def test_a_difference_that_the_watch_makes_good_soon_is_none() -> None:
    async def play() -> None:
        compared = Compared(Api(2))
        deliver(compared.cache, 0, 1)
        running = asyncio.create_task(compared.agreement.run())
        await asyncio.sleep(5)
        assert compared.agreement.stale
        deliver(compared.cache, 0, 2)
        await asyncio.sleep(10)
        assert not compared.agreement.stale
        assert compared.noticed == []
        running.cancel()

    virtual_time.run(play())


@pytest.mark.promise("watch-is-checked")
@pytest.mark.parametrize(("present", "limit"), [(True, 330), (False, 220)])
def test_the_requests_of_a_minute_stay_in_their_limits(present: bool, limit: float) -> None:
    mailers = 100
    counted = asyncio.run(requests_a_minute(mailers, present=present))
    assert mailers < counted - requests_of_the_lease() < limit, "each is reconciled, and none too often"


def requests_of_the_lease() -> float:
    """Of a minute, whatever the number of mailers."""
    return asyncio.run(requests_a_minute(0, present=True))


@pytest.mark.promise("watch-is-checked")
def test_a_difference_that_is_seen_after_a_gap_is_not_taken_for_a_young_one() -> None:
    async def play() -> None:
        api = Api(1)
        compared = Compared(api)
        api.away = True
        running = asyncio.create_task(compared.agreement.run())
        await asyncio.sleep(120)
        api.away = False
        await asyncio.sleep(60)
        assert compared.agreement.stale
        assert compared.noticed == [Key("app", "mailer-0")]
        deliver(compared.cache, 0, 1)
        await asyncio.sleep(20)
        assert not compared.agreement.stale
        running.cancel()

    virtual_time.run(play())
