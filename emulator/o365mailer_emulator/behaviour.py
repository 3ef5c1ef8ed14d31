"""How the real service may behave where Microsoft documents nothing: each such axis with its values, and two profiles.

``default`` is what transcripts and documents suggest, without latency. ``harsh`` has the other value of every axis: a
relay that works in both does not depend on a guess.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from o365mailer_emulator.tenancy import LockAfter, Settings


class Behaviour(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """Every axis with the value in force.

    ``slots``: what uses one of a mailbox's three slots, an open connection or a submission in progress (from the end of
    data to its reply). ``crowded_at``: when a client without a slot gets 432. ``submission_seconds``: how long a
    submission takes; ``submission_jitter``: seconds added or subtracted, evenly distributed. ``session_seconds``: how
    long a session may last before it gets 421. ``lock_after``: how many errors lock a mailbox, and for how long.
    ``expired_session``: what happens to a session when its token expires. ``null_sender``: the reply to
    ``MAIL FROM:<>``. ``bdat``: whether BDAT works although CHUNKING is announced; a refused chunk is still read.
    ``no_right``: when an application without a right on the mailbox is refused, at AUTH with 535 or at the end of data
    with 430.
    """

    slots: Literal["connection", "submission"]
    crowded_at: Literal["auth", "body"]
    submission_seconds: float
    submission_jitter: float
    session_seconds: float
    lock_after: LockAfter
    expired_session: Literal["kept", "cut"]
    null_sender: Literal["taken", "refused"]
    bdat: Literal["taken", "refused"]
    no_right: Literal["auth", "body"]


PROFILES = {
    "default": Behaviour(
        slots="connection",  # "Concurrent connections limit exceeded", aka.ms/concurrent_sending
        crowded_at="body",  # seen there in every public transcript
        submission_seconds=0,
        submission_jitter=0,
        session_seconds=1200,  # "Total session duration: 00:20:55" is in a public transcript
        lock_after=LockAfter(errors=20),  # Microsoft says that errors lock, and no number
        expired_session="kept",  # undocumented; AUTH checks the token
        null_sender="taken",
        bdat="taken",
        no_right="auth",
    ),
    "harsh": Behaviour(
        slots="submission",
        crowded_at="auth",
        submission_seconds=0.05,
        submission_jitter=0.05,
        session_seconds=600,  # "Total session duration: 00:10:01" is in another
        lock_after=LockAfter(errors=10, seconds=86_400),  # a user reports 24 hours
        expired_session="cut",  # as High Volume Email documents it
        null_sender="refused",
        bdat="refused",
        no_right="body",  # "mailbox logon failure", simonrob/email-oauth2-proxy#271
    ),
}


def behaviour(settings: Settings) -> Behaviour:
    """The profile's values, except for the axes that the settings name."""
    profile = PROFILES[settings.profile]
    own = {name: getattr(settings, name) for name in Behaviour.__struct_fields__}
    return msgspec.structs.replace(profile, **{name: value for name, value in own.items() if value is not None})
