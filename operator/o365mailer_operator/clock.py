"""The wall clock."""

import datetime


def utc_now() -> datetime.datetime:
    """Now, aware of its time zone."""
    return datetime.datetime.now(datetime.UTC)
