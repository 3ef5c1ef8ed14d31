"""How long after one reconcile of a mailer the next one comes. Pure; all in seconds."""

from typing import Final

from o365mailer_operator.token.schedule import FIRST_WAIT, GROWTH, JITTER, LONGEST_WAIT

EARLIEST_SHARE: Final = 0.75
LATEST_SHARE: Final = 0.95
"""The next reconcile of a Ready mailer comes after a random share of the interval: mailers do not stay in step."""
UNREADY_JITTER: Final = 0.1
"""Share of a pause by which it is longer or shorter at random."""
AT_ONCE: Final = 1.0
"""Until the next reconcile of a mailer that other clients keep changing."""


def ready_pause(*, interval: float, random: float) -> float:
    """The pause of a mailer that is Ready; `random` is from [0, 1)."""
    return interval * (EARLIEST_SHARE + (LATEST_SHARE - EARLIEST_SHARE) * random)


def unready_pause(age: float, *, interval: float) -> float:
    """The pause of a mailer that is not Ready, `age` seconds after it changed.

    At the default interval of 60 s: 10 s for two minutes, then half as long again each time. Up to 25 s until five
    minutes have passed, so that the controller sees a Secret which comes by then within 30 s; up to the interval later.
    """
    first, early, settled = interval / 6, 2 * interval, 5 * interval
    if age < early:
        return first
    # 1.5, 1.5², … times `first` add up to this as a function of the time that has passed.
    growing = 1.5 * first + (age - early) / 2
    return min(growing, 2.5 * first if age < settled else interval)


def unready_jittered(pause: float, *, random: float) -> float:
    """The same, a little longer or shorter; `random` is from [0, 1)."""
    return pause * (1 - UNREADY_JITTER + 2 * UNREADY_JITTER * random)


def pause_after_failures(failures: int, *, random: float) -> float:
    """After so many reconciles in a row that the API server did not answer.

    5, then half as long again each time, up to 60; with jitter, so that mailers do not retry in step.
    """
    wait = min(LONGEST_WAIT, FIRST_WAIT * GROWTH ** min(failures - 1, 10))
    return wait * (1 - JITTER + 2 * JITTER * random)
