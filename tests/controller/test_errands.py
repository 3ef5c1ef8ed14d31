"""Errands: what runs, what waits, what is shared, and what becomes of results. In virtual time."""

import asyncio
import datetime
from collections.abc import Awaitable, Callable, Coroutine

import pytest
from support import virtual_time

from o365mailer_operator.clock import Clock
from o365mailer_operator.controller.errands import Errand, Errands, Place
from o365mailer_operator.controller.lease import NotLeading
from o365mailer_operator.controller.mailer import Key
from o365mailer_operator.controller.metrics import Metrics
from o365mailer_operator.controller.queue import DueQueue

START = datetime.datetime(2026, 11, 28, tzinfo=datetime.UTC)
HOST = (Place("host", 2),)


def key(name: str) -> Key:
    """A mailer of one namespace."""
    return Key("app", name)


class Office:
    """Errands, and the mailers that they made due."""

    def __init__(self) -> None:
        self.due: list[str] = []
        self.metrics = Metrics(DueQueue(clock=float), leading=lambda: True, agreed_at=float)
        self.errands: Errands[str] = Errands("token", due=self.notice, clock=Clock(now), metrics=self.metrics)

    def notice(self, key: Key) -> None:
        """A mailer is due."""
        self.due.append(key.name)

    def start(self, name: str, aim: str = "aim", *, places: tuple[Place, ...] = HOST, shared: str = "") -> None:
        """Begin an errand that takes ten seconds."""

        async def run() -> str:
            await asyncio.sleep(10)
            return f"for {name}"

        self.start_one(name, aim, run, places=places, shared=shared)

    def start_one(
        self,
        name: str,
        aim: str,
        run: Callable[[], Awaitable[str]],
        *,
        places: tuple[Place, ...] = HOST,
        shared: str = "",
    ) -> None:
        """Begin an errand."""
        errand = Errand(aim=aim, places=places, run=run, limit=60, failure="failure", shared=shared)
        self.errands.start(key(name), errand)

    def found(self, name: str) -> str | None:
        """`under way`, the result, or None."""
        found = self.errands.find(key(name))
        return None if found is None else "under way" if found.under_way else found.result

    def serve_due(self) -> None:
        """Reconcile every mailer that is due: start its errand where there is none."""
        for name in self.due:
            if self.found(name) is None:
                self.start(name)
        self.due.clear()


def now() -> datetime.datetime:
    """The virtual time."""
    return START + datetime.timedelta(seconds=asyncio.get_running_loop().time())


def played(play: Callable[[Office], Coroutine[None, None, None]]) -> None:
    """Run a test, at whose end no errand is left."""

    async def whole() -> None:
        office = Office()
        await play(office)
        office.errands.cancel()
        await asyncio.sleep(1)
        assert (office.errands.running, office.errands.waiting, dict(office.errands.occupied)) == (0, 0, {})

    virtual_time.run(whole())


@pytest.mark.promise("mailers-are-independent")
def test_a_result_is_kept_until_it_is_dropped_and_makes_its_mailer_due() -> None:
    async def play(office: Office) -> None:
        office.start("a")
        assert office.found("a") == "under way"
        await asyncio.sleep(11)
        assert (office.found("a"), office.due) == ("for a", ["a"])
        assert office.errands.last_begun(key("a")) == START
        office.errands.drop(key("a"))
        assert office.found("a") is None

    played(play)


@pytest.mark.promise("mailers-are-independent")
def test_a_mailer_that_waits_holds_no_place_and_is_called_when_there_is_one() -> None:
    async def play(office: Office) -> None:
        for name in "abcd":
            office.start(name)
        assert (office.errands.running, office.errands.waiting) == (2, 2)
        assert [office.found(name) for name in "abcd"] == ["under way"] * 4
        await asyncio.sleep(11)
        assert office.due == ["a", "c", "b", "d"], "the oldest of those that wait is called first"
        assert (office.found("c"), office.errands.running) == (None, 0), "it is to start now"
        office.serve_due()
        assert (office.errands.running, office.errands.waiting) == (2, 0)
        await asyncio.sleep(11)
        assert [office.found(name) for name in "abcd"] == [f"for {name}" for name in "abcd"]

    played(play)


@pytest.mark.promise("mailers-are-independent")
def test_a_tenant_that_hangs_leaves_places_to_others() -> None:
    async def play(office: Office) -> None:
        host, hanging = Place("host", 3), Place("tenant hanging", 2)
        for number in range(10):
            office.start(f"hanging-{number}", places=(host, hanging))
        office.start("other", places=(host, Place("tenant other", 2)))
        assert (office.errands.running, office.errands.waiting) == (3, 8)
        await asyncio.sleep(11)
        assert office.found("other") == "for other"

    played(play)


def test_a_mailer_that_was_called_and_starts_nothing_gives_its_places_to_the_next() -> None:
    async def play(office: Office) -> None:
        for name in "abcd":
            office.start(name)
        await asyncio.sleep(11)
        assert office.errands.is_called(key("c"))
        office.errands.passed(key("c"))  # its Secret is gone, for example
        office.errands.forget(key("d"))
        office.start("e")
        office.start("f")
        assert office.errands.running == 2
        office.errands.passed(key("e"))  # it was not called
        assert office.found("e") == "under way"
        await asyncio.sleep(1)

    played(play)


@pytest.mark.promise("mailers-are-independent")
def test_mailers_that_share_an_errand_run_it_once_and_all_get_its_result() -> None:
    async def play(office: Office) -> None:
        office.start("a", shared="application")
        office.start("b", shared="application")
        await asyncio.sleep(5)
        office.start("late", shared="application")
        office.start("other", shared="another application")
        assert office.errands.running == 2
        await asyncio.sleep(6)
        assert [office.found(name) for name in ("a", "b", "late", "other")] == ["for a"] * 3 + ["under way"]
        begun = office.errands.last_begun(key("late"))
        assert begun == START + datetime.timedelta(seconds=5)

    played(play)


def test_mailers_that_share_an_errand_which_waits_start_it_one_for_another() -> None:
    async def play(office: Office) -> None:
        one = (Place("host", 1),)
        office.start("first", places=one)
        for name in "abc":
            office.start(name, places=one, shared="application")
        await asyncio.sleep(11)
        assert office.due == ["first", "a"]
        office.errands.passed(key("a"))
        assert office.due == ["first", "a", "b"], "the next of them is called"
        office.start("b", places=one, shared="application")
        await asyncio.sleep(11)
        assert [office.found(name) for name in "abc"] == [None, "for b", "for b"]

    played(play)


@pytest.mark.promise("mailers-are-independent")
def test_an_errand_whose_mailer_is_gone_or_changed_keeps_no_other_from_its_place(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def hangs() -> str:
        await asyncio.sleep(1e9)
        return ""

    async def play(office: Office) -> None:
        office.start_one("deleted", "aim", hangs)
        office.start("a")
        for name in "bcd":
            office.start(name)
        office.errands.forget(key("deleted"))
        await asyncio.sleep(11)
        assert (office.found("a"), office.due) == ("for a", ["a", "b"])
        office.errands.passed(key("b"))
        assert office.due == ["a", "b", "c"]
        office.serve_due()
        await asyncio.sleep(50)
        assert (office.found("c"), office.found("deleted")) == ("for c", None)
        assert office.due == ["c", "d", "b"], "both places are free again"

    played(play)
    (record,) = caplog.records
    assert (record.getMessage(), vars(record)["mailer"]) == ("an errand was cancelled at its limit", "app/deleted")


def test_an_errand_for_another_aim_replaces_the_one_before() -> None:
    async def play(office: Office) -> None:
        office.start("a", "one")
        office.start("a", "two")
        await asyncio.sleep(11)
        found = office.errands.find(key("a"))
        assert found is not None
        assert found.aim == "two"
        assert office.due == ["a"], "what the first brought is nobody's"

    played(play)


def test_an_errand_that_does_not_end_or_breaks_counts_as_a_failure(caplog: pytest.LogCaptureFixture) -> None:
    async def forever() -> str:
        await asyncio.sleep(1e9)
        return ""

    async def breaks() -> str:
        raise KeyError("a defect")

    async def play(office: Office) -> None:
        office.start_one("endless", "aim", forever)
        office.start_one("broken", "aim", breaks)
        await asyncio.sleep(59)
        assert (office.found("broken"), office.found("endless")) == ("failure", "under way")
        await asyncio.sleep(2)
        assert office.found("endless") == "failure"

    played(play)
    assert [record.getMessage() for record in caplog.records] == [
        "an errand failed by a defect of the controller",
        "an errand was cancelled at its limit",
    ]


@pytest.mark.promise("one-active-controller")
def test_an_errand_that_may_not_begin_any_more_is_begun_again_by_the_next_reconcile() -> None:
    async def not_leading() -> str:
        raise NotLeading

    async def play(office: Office) -> None:
        office.start_one("a", "aim", not_leading)
        await asyncio.sleep(1)
        assert (office.found("a"), office.due) == (None, ["a"])

    played(play)


@pytest.mark.promise("restart-mints-nothing")
def test_errands_that_are_closed_end_what_runs_and_begin_nothing() -> None:
    async def play(office: Office) -> None:
        for name in "abc":
            office.start(name)
        office.errands.close()
        office.start("d")
        assert (office.errands.running, office.errands.waiting) == (2, 0)
        await asyncio.sleep(11)
        assert [office.found(name) for name in "abcd"] == ["for a", "for b", None, None]

    played(play)


def test_the_metrics_tell_what_runs_and_what_waits() -> None:
    async def play(office: Office) -> None:
        for name in "abc":
            office.start(name)
        text = office.metrics.exposition().decode()
        assert 'o365mailer_errands_running{kind="token"} 2.0' in text
        assert 'o365mailer_errands_waiting{kind="token"} 1.0' in text
        await asyncio.sleep(11)
        assert 'o365mailer_errand_duration_seconds_count{kind="token"} 2.0' in office.metrics.exposition().decode()

    played(play)


@pytest.mark.promise("neighbours-are-safe")
def test_namespaces_take_turns() -> None:
    """Errands of one application run one at a time. A namespace that has begun a hundred lets another's go first."""
    one = (Place("application", 1),)

    async def play(office: Office) -> None:
        order: list[str] = []

        def start(key: Key) -> None:
            async def run() -> str:
                order.append(str(key))
                await asyncio.sleep(1)
                return "done"

            office.errands.start(key, Errand(aim=str(key), places=one, run=run, limit=60, failure="failure"))

        office.errands.due = lambda key: start(key) if office.errands.is_called(key) else None
        for number in range(100):
            start(Key("hostile", f"m-{number}"))
        for name in "ab":
            start(Key("neighbour", name))
        await asyncio.sleep(4.5)
        assert order == ["hostile/m-0", "neighbour/a", "hostile/m-1", "neighbour/b", "hostile/m-2"]

    played(play)
