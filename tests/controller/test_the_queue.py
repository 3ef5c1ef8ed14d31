"""Who is looked at when, by a clock that the test moves."""

from o365mailer_operator.controller.mailer import Key
from o365mailer_operator.controller.queue import DueQueue


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def key(name: str) -> Key:
    """A mailer of one namespace."""
    return Key("app", name)


def taken(queue: DueQueue) -> list[str]:
    """The names of what is handed out."""
    return [found.name for found in queue.take()]


def test_a_mailer_is_handed_out_when_it_is_due_and_not_before() -> None:
    clock = Clock()
    queue = DueQueue(clock=clock)
    queue.put(key("a"), delay=5)
    assert taken(queue) == []
    assert queue.next_due() == 5
    clock.now += 5
    assert taken(queue) == ["a"]
    assert taken(queue) == []


def test_what_is_due_earlier_stays_due_earlier() -> None:
    clock = Clock()
    queue = DueQueue(clock=clock)
    queue.put(key("a"), delay=5)
    queue.put(key("a"), delay=60)
    clock.now += 5
    assert taken(queue) == ["a"]


def test_what_changes_while_it_is_looked_at_is_looked_at_once_more() -> None:
    queue = DueQueue(clock=Clock())
    queue.put(key("a"))
    assert taken(queue) == ["a"]
    queue.put(key("a"))
    queue.put(key("a"))
    assert taken(queue) == []
    queue.done(key("a"), delay=60)
    assert taken(queue) == ["a"]
    queue.done(key("a"), delay=60)
    assert taken(queue) == []


def test_what_is_done_for_good_is_gone() -> None:
    queue = DueQueue(clock=Clock())
    queue.put(key("a"))
    taken(queue)
    queue.done(key("a"), delay=None)
    assert len(queue) == 0


def test_what_goes_while_it_is_looked_at_is_looked_at_once_more_and_leaves_nothing() -> None:
    queue = DueQueue(clock=Clock())
    for _ in range(100):
        queue.put(key("a"))
        assert taken(queue) == ["a"]
        queue.put(key("a"))
        queue.done(key("a"), delay=60)
        assert taken(queue) == ["a"]
        queue.done(key("a"), delay=None)
    assert (len(queue), queue.running, len(queue.waiting), len(queue.heap)) == (0, 0, 0, 0)


def test_what_is_told_twice_while_it_waits_is_looked_at_once() -> None:
    queue = DueQueue(clock=Clock(), workers=1)
    queue.put(key("first"))
    assert taken(queue) == ["first"]
    for _ in range(3):
        queue.put(key("a"))
        assert taken(queue) == []
    queue.done(key("first"), delay=None)
    assert taken(queue) == ["a"]
    queue.done(key("a"), delay=60)
    assert taken(queue) == []


def test_no_more_is_under_way_than_there_are_places() -> None:
    queue = DueQueue(clock=Clock(), workers=3)
    for number in range(6):
        queue.put(key(f"m-{number}"))
    assert taken(queue) == ["m-0", "m-1", "m-2"]
    assert (queue.running, queue.overdue) == (3, 3)
    queue.done(key("m-1"), delay=60)
    assert taken(queue) == ["m-3"]


def test_a_queue_that_is_cleared_ends_what_has_begun_and_begins_nothing() -> None:
    clock = Clock()
    queue = DueQueue(clock=clock, workers=1)
    for name in ("running", "waiting"):
        queue.put(key(name))
    queue.put(key("later"), delay=5)
    assert taken(queue) == ["running"]
    queue.clear()
    clock.now += 5
    assert (queue.busy, taken(queue)) == (True, [])
    queue.done(key("running"), delay=60)
    assert (queue.busy, taken(queue), len(queue)) == (False, [], 1)


def test_namespaces_take_turns() -> None:
    """A thousand mailers of one namespace delay the only one of another by a single reconcile."""
    queue = DueQueue(clock=Clock(), workers=1)
    for number in range(1000):
        queue.put(Key("hostile", f"m-{number}"))
    queue.put(Key("neighbour", "a"))
    queue.put(Key("neighbour", "b"))
    order = []
    for _ in range(5):
        [found] = queue.take()
        order.append(str(found))
        queue.done(found, delay=60)
    assert order == ["hostile/m-0", "neighbour/a", "hostile/m-1", "neighbour/b", "hostile/m-2"]
    assert queue.overdue == 997


def test_a_reconcile_that_follows_the_running_one_is_due_when_it_was_asked_for() -> None:
    clock = Clock()
    queue = DueQueue(clock=clock)
    queue.put(key("a"))
    assert taken(queue) == ["a"]
    queue.put(key("a"), delay=1)
    queue.put(key("a"), delay=5)
    queue.done(key("a"), delay=60)
    assert (taken(queue), queue.next_due()) == ([], 1)
    clock.now += 1
    assert taken(queue) == ["a"]
