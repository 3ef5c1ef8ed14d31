"""Numbers and times as a person reads them."""

import datetime


def until(moment: datetime.datetime | None, now: datetime.datetime) -> str:
    """`in 55m`, `3m ago`; `-` for no moment."""
    if moment is None:
        return "-"
    left = (moment - now).total_seconds()
    return f"in {span(left)}" if left > 0 else f"{span(-left)} ago"


def span(seconds: float) -> str:
    """`45s`, `55m`, `3h`, `2d`: as kubectl shows ages."""
    for size, unit, limit in ((1, "s", 120), (60, "m", 7200), (3600, "h", 172800)):
        if seconds < limit:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds / 86400:.0f}d"


def pods(count: int) -> str:
    """`1 pod`, `3 pods`."""
    return f"{count} pod{'' if count == 1 else 's'}"
