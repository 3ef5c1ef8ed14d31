"""`limits.messagesPerMinute`: one message every so many seconds. Pure: times in seconds are passed in."""


class Pace:
    """Gives out moments to begin, in the order of asking."""

    def __init__(self) -> None:
        self.next = 0.0

    def moment(self, *, per_minute: int | None, now: float) -> float:
        """When the next message may begin; it is nobody's until it is taken."""
        return max(self.next, now) if per_minute else now

    def take(self, moment: float, *, per_minute: int | None) -> None:
        """Somebody begins then."""
        if per_minute:
            self.next = moment + 60 / per_minute
