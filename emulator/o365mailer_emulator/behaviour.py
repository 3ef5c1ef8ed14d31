"""How the real service may behave where nobody outside Microsoft knows: each such axis with its values, and profiles.

``default`` is what transcripts and documents suggest, without latency. ``harsh`` takes the other side of every axis: a
relay that passes in both does not rest on a guess.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from o365mailer_emulator.tenancy import Settings


class Behaviour(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """Every axis with the value in force.

    ``slots``: what a mailbox's three slots are taken by, an open connection or a submission in progress, that is from
    the end of data to its reply. ``crowded_at``: where the one too many is told 432. ``submission_seconds``: how long a
    submission takes; ``submission_jitter``: seconds more or less, evenly spread. ``pace``: messages a mailbox submits
    in ``pace_seconds`` (a setting) before its replies are late; 0 for no such limit. ``expired_session``: what becomes
    of a session when its token ends. ``null_sender``: what is said to ``MAIL FROM:<>``. ``bdat``: whether the announced
    CHUNKING is true; a refused chunk is read all the same.
    """

    slots: Literal["connection", "submission"]
    crowded_at: Literal["auth", "body"]
    submission_seconds: float
    submission_jitter: float
    pace: int
    expired_session: Literal["kept", "cut"]
    null_sender: Literal["taken", "refused"]
    bdat: Literal["taken", "refused"]


PROFILES = {
    "default": Behaviour(
        slots="connection",  # "Concurrent connections limit exceeded", aka.ms/concurrent_sending
        crowded_at="body",  # seen there in every public transcript
        submission_seconds=0,
        submission_jitter=0,
        pace=0,  # a production log speaks of 660 a minute
        expired_session="kept",  # undocumented; the token is looked at in AUTH
        null_sender="taken",
        bdat="taken",
    ),
    "harsh": Behaviour(
        slots="submission",
        crowded_at="auth",
        submission_seconds=0.05,
        submission_jitter=0.05,
        pace=30,  # "throttled and successively carried over to the following minutes"
        expired_session="cut",  # as High Volume Email documents it
        null_sender="refused",
        bdat="refused",
    ),
}


def behaviour(settings: Settings) -> Behaviour:
    """The profile's values, save for the axes that the settings name themselves."""
    profile = PROFILES[settings.profile]
    own = {name: getattr(settings, name) for name in Behaviour.__struct_fields__}
    return msgspec.structs.replace(profile, **{name: value for name, value in own.items() if value is not None})
