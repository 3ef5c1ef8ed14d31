"""docs/benchmarks.md, made from a run's results and nothing else, so that it can be compared with them."""

import difflib
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from benchmarks.results import FLEET, Results
from benchmarks.table import table

PAGE: Final = Path(__file__).parent.parent / "docs" / "benchmarks.md"

TEXT: Final = """\
# Benchmarks

`make bench` measures the sidecar beside its rivals in one run, writes `benchmarks/results/latest.json` and makes this
page from it; `make check` compares the two. Read the ratios (more than 1: the sidecar is better): the figures are those
of one machine on one day.

{table}

Run of {date}, {python}, {system}, {cores} cores.

Medians of interleaved rounds (peaks and round trips: the worst). The relay has a core for itself, apps and host share
the others; policy, audit and metrics are on. Processor time is the relay's own, user and system, of all its threads.
The host is a bare TLS sink (`benchmarks/sink.py`).
{missing}
## Who stands beside it

- plain: aiosmtpd with a handler and three kept aiosmtplib clients on uvloop (`benchmarks/plain_relay.py`). It has none
  of the sidecar's checks.
- emailproxy: [email-oauth2-proxy](https://pypi.org/project/emailproxy/) as it comes, its token cached. It has a
  connection to the host for each of an app's, ten here, where the sidecar keeps to a mailbox's three; a new one costs
  it the decryption of its token.
- raw client: sends the same messages to the host itself, over three connections, from the relay's core
  (`benchmarks/raw_client.py`).
- bare: one mail with every command that the RFCs ask for and no other; round trips are counted on a wire of 30 ms
  (`benchmarks/distance.py`), TCP's own handshake not among them.
- postfix: Debian's, in a directory of its own, on the relay's core with all its processes, connections to the host
  reused on demand with TLS (its configuration is in the results). It is not made to log in, which it could not.

## How it is measured

- 4 KiB messages: {messages:,} a round, {rounds} rounds, from {apps} apps that wait for every reply. On new connections
  each message has one of its own on the app's side; those to the host are kept.
- Time added: from the app's MAIL to its 250, less what the host says that it took ({delay:g} s). {timed} messages,
  about five a second rather than one: what matters is that the relay is idle and its connection warm.
- 1 MiB bodies: {large} a round.
- Hostile headers: the 99 messages are up to 256 KiB each, most of it one field, or many (`benchmarks/rows/hostile.py`);
  the last line of all of them is sent at once, with `senders.onMismatch: Rewrite`.
- Memory is read after one mail (idle) and after three of 25 MiB at once (peak), each round in a fresh process; wake-ups
  are the voluntary context switches of all threads in {silence:g} s without mail.
{spool}{node}
## Where the time of a small message goes

Of a 4 KiB message on kept connections (perf and a sampling of the interpreter, 2026-11-26): a quarter is the kernel's,
nearly all of it the five writes (four to the app; one to the host, two since messages go by DATA) with what TCP does
after them on loopback; 4 % TLS, 5 % the event loop, and the rest CPython's interpreter. But for those writes no
function of ours has more than 4 % to itself: it is some 500 calls. The session's side has a third of them; policy, our
head of the message, pool and conversation another; the audit record with its metrics 9 % of all time.

So four times less is not one change away: it needs half of the interpreter's work gone. Within reach are a session that
answers where octets arrive, without a task to wake (a trial with MAIL and RCPT: 1 to 4 %), and no task and no timers of
its own for each message (about 6 %); beyond that it is the interpreter itself, or a part of the path in a compiled
language. On kept connections email-oauth2-proxy only copies lines between two sockets, which is why the factor there is
smaller than on new ones.

`python -m benchmarks --only ROW` measures one row again and keeps the others; `--quick` shows that all of it runs. The
fleet is a run of its own: `python -m benchmarks.fleet --save`, seven minutes, then `python -m benchmarks --page`.
"""

SPOOL: Final = """\
- To disk: the host is away, and each message is synced with its directory entry before its 250, on both sides and on
  one disk; {messages:,} messages a round, {rounds} rounds. Then the host comes back, and the queue is drained.
- {backlog:,} messages in the spool: it is filled with the host away, and the process is killed; time runs from its next
  start to the first message that the host has.
"""

NODE: Final = """\
- A pod's start: {starts} pods with a sidecar and {starts} without, by turns, on a node of this machine
  (`rig/`), from the pod's creation to the first line of its app, which connects to port 25 at once. The
  images are on the node; the sidecar has its default resources.
"""


def page(results: Results) -> str:
    """All of it."""
    rows: dict[str, dict[str, Any]] = defaultdict(lambda: defaultdict(int))  # a row that was not measured: zeros
    rows.update(results.conditions)
    spooled = "spooled" in results.conditions and "backlog" in results.conditions
    return TEXT.format(
        table=table(with_fleet(results)),
        date=results.date[:10],
        python=results.machine.get("python"),
        system=results.machine.get("system"),
        cores=results.machine.get("cores"),
        missing="".join(f"\nNot measured: {name} ({why}).\n" for name, why in sorted(results.missing.items())),
        messages=rows["throughput"]["messages"],
        rounds=rows["throughput"]["rounds"],
        apps=rows["throughput"]["apps"],
        delay=rows["added-time"]["delay"],
        timed=len(results.of("time added (ms)", "sidecar")),
        large=rows["large-bodies"]["messages"],
        silence=rows["resources"]["silence"],
        spool=SPOOL.format(**rows["spooled"], backlog=rows["backlog"]["messages"]) if spooled else "",
        node=NODE.format(**rows["injected-start"]) if "injected-start" in results.conditions else "",
    )


def with_fleet(results: Results) -> Results:
    """With what 50 sidecars on one mailbox did, when that was measured."""
    return replace(results, figures=results.figures | Results.load(FLEET).figures)


def differences(results: Results, document: str) -> str:
    """What the page says otherwise than the results; empty when nothing."""
    ours, theirs = document.splitlines(), page(results).splitlines()
    return "\n".join(difflib.unified_diff(ours, theirs, PAGE.name, "benchmarks/results", lineterm="", n=0))
