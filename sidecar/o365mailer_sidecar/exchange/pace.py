"""`limits.messagesPerMinute`: one message every so many seconds. Pure: times in seconds are passed in."""


class Pace:
    """Gives out moments to begin, in the order of asking.

    An app's message takes a moment that is soon enough for it, or none. A message from the spool can wait, so one
    moment is reserved for the spool: without it apps that keep sending would take every moment, and spooled mail would
    wait for ever.
    """

    def __init__(self) -> None:
        self.next = 0.0
        self.reserved: float | None = None

    def moment(self, *, per_minute: int | None, now: float) -> float:
        """When the next message may begin; it is nobody's until it is taken."""
        return max(self.next, now) if per_minute else now

    def take(self, moment: float, *, per_minute: int | None) -> None:
        """Somebody begins then."""
        if per_minute:
            self.next = moment + 60 / per_minute

    def reserve(self, *, per_minute: int | None, now: float) -> float:
        """When the next message from the spool may begin. No other message gets that moment."""
        if not per_minute:
            self.reserved = None
            return now
        # One that was not used in time is not saved up.
        if self.reserved is None or self.reserved + 60 / per_minute < now:
            self.reserved = self.moment(per_minute=per_minute, now=now)
            self.take(self.reserved, per_minute=per_minute)
        return self.reserved

    def use(self, *, per_minute: int | None, now: float) -> None:
        """A message from the spool begins now, at the moment that was reserved or later."""
        self.reserved = None
        if per_minute:
            self.next = max(self.next, now + 60 / per_minute)
