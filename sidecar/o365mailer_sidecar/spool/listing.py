"""How the spool's messages are shown: as a table for a person, or as JSON. Pure; never a body.

What apps wrote (addresses, headers) and what Exchange answered is shown with its control characters escaped: a terminal
would obey them.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec

from o365mailer_sidecar.spool.found import Found

COLUMNS: Final = ("QUEUE ID", "STATE", "AGE", "SIZE", "TRIES", "NEXT", "FROM", "TO", "LAST ANSWER")

ANSWER_WIDTH: Final = 60
"""Characters of an answer in the table; `show` has all of it."""

Json = dict[str, object]


def plain(text: str) -> str:
    """Text that a terminal only prints."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def span(length: timedelta) -> str:
    """The two largest units: `3d04h`, `5m09s`."""
    rest = max(int(length.total_seconds()), 0)
    days, hours, minutes, seconds = rest // 86400, rest // 3600 % 24, rest // 60 % 60, rest % 60
    if days:
        return f"{days}d{hours:02}h"
    if hours:
        return f"{hours}h{minutes:02}m"
    return f"{minutes}m{seconds:02}s" if minutes else f"{seconds}s"


def size(octets: int) -> str:
    """In the largest unit that leaves a number to read."""
    for unit in ("", "Ki", "Mi"):
        if octets < 1024:
            return f"{octets}{unit}"
        octets //= 1024
    return f"{octets}Gi"


def next_attempt(found: Found, now: datetime) -> str:
    """When it is tried next."""
    if found.state != "queued" or found.entry is None:
        return "-"
    due = found.entry.standing.due
    return "now" if due is None or due <= now else f"in {span(due - now)}"


def answer(found: Found) -> str:
    """What is known of why it is still here."""
    if found.entry is None:
        return found.fault
    standing = found.entry.standing
    last = standing.last
    if last and last.reply.startswith("2"):  # for some of its recipients; it is here for the others
        refused = next(iter(standing.refused.values()), "")
        return refused or f"accepted for {len(standing.accepted)} of {len(found.entry.header.recipients)} recipients"
    return (last.reply or last.reason or last.outcome or last.event) if last else ""


def row(found: Found, now: datetime) -> tuple[str, ...]:
    """A line of the table."""
    if found.entry is None:
        return (plain(found.name), found.state, "?", "?", "?", "-", "?", "?", plain(found.fault))
    header, standing = found.entry.header, found.entry.standing
    first, others = header.recipients[0].address if header.recipients else "", len(header.recipients) - 1
    return (
        plain(found.name),
        found.state,
        span(now - header.received),
        size(header.size),
        str(standing.attempts),
        next_attempt(found, now),
        f"<{plain(header.sender.address)}>",
        plain(first) + (f" +{others}" if others > 0 else ""),
        plain(answer(found))[:ANSWER_WIDTH],
    )


def table(found: Sequence[Found], now: datetime) -> str:
    """All of them, and how many there are."""
    rows = [COLUMNS, *(row(each, now) for each in found)] if found else []
    widths = [max(len(line[column]) for line in rows) for column in range(len(COLUMNS))] if rows else []
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in rows]
    return "\n".join([*lines, summary(found)]) + "\n"


def summary(found: Iterable[Found]) -> str:
    """`2 queued (8Ki), 1 held, 1 dead`."""
    counts: Counter[str] = Counter()
    octets: Counter[str] = Counter()
    for each in found:
        counts[each.state] += 1
        octets[each.state] += each.entry.octets if each.entry else 0
    words = [f"{counts[state]} {state} ({size(octets[state])})" for state in ("queued", "held", "dead", "damaged")]
    return (
        ", ".join(
            word for word, state in zip(words, ("queued", "held", "dead", "damaged"), strict=True) if counts[state]
        )
        or "nothing"
    )


def facts(found: Found) -> Json:
    """Everything but the message, for JSON."""
    known: Json = {"queueId": found.name, "state": found.state, "slot": found.slot.name, "file": str(found.path)}
    if found.entry is None:
        return known | {"fault": found.fault}
    header, standing = found.entry.header, found.entry.standing
    return known | {
        "received": header.received,
        "size": header.size,
        "attempts": standing.attempts,
        "due": standing.due,
        "sender": header.sender,
        "recipients": recipients(found),
        "last": standing.last,
    }


def recipients(found: Found) -> list[Json]:
    """Each with how it stands."""
    if found.entry is None:
        return []
    standing = found.entry.standing
    shown: list[Json] = []
    for to in found.entry.header.recipients:
        state = "accepted" if to.address in standing.accepted else "due"
        reply = standing.refused.get(to.address, "")
        shown.append({"address": to.address, "state": "refused" if to.address in standing.refused else state})
        if reply:
            shown[-1]["reply"] = reply
    return shown


def as_json(value: object) -> str:
    """Indented, for a person with jq or without."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n"


def details(found: Found, now: datetime, *, headers: bool) -> str:
    """All that is known of one message, and what happened to it."""
    lines = [f"Queue id:   {plain(found.name)}", f"State:      {found.state}", f"File:       {plain(str(found.path))}"]
    if found.entry is None:
        return "\n".join([*lines, f"Damaged:    {plain(found.fault)}"]) + "\n"
    header, standing = found.entry.header, found.entry.standing
    lines += [
        f"Received:   {header.received:%Y-%m-%d %H:%M:%S} UTC, {span(now - header.received)} ago",
        f"Size:       {header.size} octets{', 8-bit' if header.eight_bit else ''}",
        f"Tries:      {standing.attempts}, next {next_attempt(found, now)}",
        f"From:       <{plain(header.sender.address)}> {plain(' '.join(header.sender.parameters))}".rstrip(),
    ]
    for to in recipients(found):
        lines.append(plain(f"To:         <{to['address']}> {to['state']} {to.get('reply', '')}".rstrip()))
    for event in found.history():
        said = " ".join(filter(None, (event.event, event.outcome, event.reason, event.reply)))
        lines.append(f"{event.at:%Y-%m-%d %H:%M:%S}  {plain(said)}")
    if found.entry.unread:
        lines.append(f"{found.entry.unread} lines behind the message cannot be read")
    if headers:
        text = found.headers().decode("utf-8", "backslashreplace").replace("\r\n", "\n")
        lines += ["", *(plain(line.replace("\t", " ")) for line in text.split("\n"))]
    return "\n".join(lines).rstrip("\n") + "\n"
