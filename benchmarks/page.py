"""Makes docs/benchmarks.md from a run's results and nothing else, so that a test can compare the two."""

import difflib
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from benchmarks.results import ADMISSION, CONTROLLER, FLEET, Results
from benchmarks.table import ADMISSION_LINES, CONTROLLER_LINES, figures, gaps, missed, table

PAGE: Final = Path(__file__).parent.parent / "docs" / "benchmarks.md"

TEXT: Final = """\
# Benchmarks

How fast is the sidecar, how much memory does it take, and how does it compare with other relays? One run measures all
of them on one machine. Read the ratios: more than 1 means that the sidecar is better. The absolute figures depend on
the machine.

{table}

Run of {date}, {python}, {system}, {cores} cores.
{missing}
## Repeat it

- `make bench` measures everything (12 minutes) and writes `benchmarks/results/latest.json` and this page.
- `python -m benchmarks --only ROW` measures one row again and keeps the others. `--quick` only shows that everything
  runs.
- `python -m benchmarks.fleet --save` (seven minutes) measures many sidecars on one mailbox.
  `python -m benchmarks.controller --save` (21 minutes) and `python -m benchmarks.admission --save` (4 minutes) measure
  the operator. Then `python -m benchmarks --page` writes this page.

## Where the sidecar misses its goals

{gaps}

## What the sidecar is compared with

- **plain**: aiosmtpd with a handler and three kept aiosmtplib clients on uvloop (`benchmarks/plain_relay.py`). It has
  none of the sidecar's checks.
- **emailproxy**: [email-oauth2-proxy](https://pypi.org/project/emailproxy/) in its default configuration, with a
  cached token. It opens one connection to the host for each connection of an app, ten in this run. The sidecar opens
  at most three, as a mailbox allows. For each new connection, emailproxy decrypts its token.
- **raw client**: a client that sends the same messages to the host over three connections, on the relay's core
  (`benchmarks/raw_client.py`).
- **bare**: one mail with all commands that the RFCs require and no other. Round trips are counted on a connection
  with a delay of 30 ms (`benchmarks/distance.py`), without TCP's own handshake. **bare, pipelined** sends MAIL, RCPT
  and DATA in one write.
- **postfix**: Debian's Postfix in a directory of its own, with all its processes on the relay's core. It reuses
  connections to the host on demand, with TLS (the results contain its configuration). It does not log in to the host.

## How it is measured

The figures are medians of interleaved rounds; peaks and round trips are the worst round. The relay has one core, and
the apps and the host share the others. The sidecar's policy, audit and metrics are on. Processor time is the relay's
own, user and system, of all its threads. The host is a simple TLS server (`benchmarks/sink.py`).

- 4 KiB messages: {messages:,} per round, {rounds} rounds, from {apps} apps that wait for every reply. With *new
  connections*, each message has a connection of its own between app and relay; those to the host are kept.
- Time added: from the app's MAIL to its 250, without the {delay:g} s that the host takes. {timed} messages, about
  five per second. The relay is otherwise idle and its connection is open.
- One mail: what a profile function counts from the reply to the second mail of a session to the reply to the third
  (`benchmarks/calls.py`). These figures are the same on every machine; they tell how much there is to read.
- 1 MiB bodies: {large} per round.
- Hostile headers: 99 messages of up to 256 KiB each, most of it one field or many fields
  (`benchmarks/rows/hostile.py`). All send their last line at once, with `senders.onMismatch: Rewrite`.
- Memory is read after one mail (idle) and after three of 25 MiB at once (peak), in a fresh process for each round.
  Wake-ups are the voluntary context switches of all threads in {silence:g} s without mail.
{spool}{node}{operator}
## Where the time of a small message goes

Measured on 2026-11-26, for a 4 KiB message on a kept connection (perf, and a sampling of the interpreter). The kernel
takes a quarter, nearly all of it for the relay's writes to its sockets. TLS takes 4 %, the event loop 5 %, and
CPython's interpreter the rest, in some 500 calls. No function of the relay takes more than 4 % by itself, apart from
those writes. A third of the calls belong to the SMTP server, another third to policy, the header, the connection pool
and the SMTP client. The audit record and its metrics take 9 % of all time.

So a much smaller processor time per message needs fewer calls everywhere, or a compiled language for a part of the
way. On kept connections, emailproxy only copies lines between two sockets; so the ratio there is smaller than on new
connections.
"""

SPOOL: Final = """\
- To disk: the host is away, and each message is synced with its directory entry before its 250, by both programs on
  the same disk. {messages:,} messages per round, {rounds} rounds. Then the host comes back, and the queue is drained.
- {backlog:,} messages in the spool: the spool is filled while the host is away, and the process is killed. The time
  is from its next start to the first message that the host has.
"""

NODE: Final = """\
- A pod's start: {starts} pods with a sidecar and {starts} without, alternating, on a node of this machine (`rig/`).
  The time is from the pod's creation to the first line of its app, which connects to port 25 at once. The images are
  on the node, and the sidecar has its default resources.
"""

OPERATOR: Final = """
## The operator with 1,000 mailers

{table}

Run of {date}, {python}, {system}, {cores} cores, commit {commit}.

{gaps}{missing}
The API server is a real one (`rig/`). Controller and webhook have the command and the environment that the chart gives
them. Entra is the emulator, which answers after 0.45 s.

- {mailers:,} mailers of {applications} applications of one tenant. Each application has a namespace with one Secret,
  which its mailers share. All mailers are created at once.
- Requests are those of the controller in the audit log of the API server, watches included.
- Ready: from a minute after the last of the first logins at Exchange has ended, for {steady:g} s. No token is due for
  renewal in that time.
- Not Ready: the Secrets of the applications are missing.
- Takeover: the active replica is killed while a second one stands by, and {applications} tokens fall due. A renewal is
  late if it comes more than a minute after it was due.
- Entra hangs for {hang:g} s. A tenth of the mailers asks for new tokens then. Looks are reads of the token Secrets of
  the other mailers; a few of these Secrets are deleted.
- API server away: it is killed while Entra issues tokens. A restart is counted if the process ends, or if it fails
  three liveness probes in a row.
- Admission: pods with and without the annotation are created in turn, and the difference is shown. The pods of the
  first two rows are dry runs, which are not stored. One replica of the webhook answers for all pods. The chart has two.
"""


def page(results: Results) -> str:
    """The whole page."""
    rows: dict[str, dict[str, Any]] = defaultdict(lambda: defaultdict(int))  # a row that was not measured: zeros
    rows.update(results.conditions)
    spooled = "spooled" in results.conditions and "backlog" in results.conditions
    return TEXT.format(
        table=table(with_fleet(results)),
        gaps=gaps(with_fleet(results)),
        date=results.date[:10],
        python=results.machine.get("python"),
        system=results.machine.get("system"),
        cores=results.machine.get("cores"),
        missing=_not_measured(results.missing),
        messages=rows["throughput"]["messages"],
        rounds=rows["throughput"]["rounds"],
        apps=rows["throughput"]["apps"],
        delay=rows["added-time"]["delay"],
        timed=len(results.of("time added (ms)", "sidecar")),
        large=rows["large-bodies"]["messages"],
        silence=rows["resources"]["silence"],
        spool=SPOOL.format(**rows["spooled"], backlog=rows["backlog"]["messages"]) if spooled else "",
        node=NODE.format(**rows["injected-start"]) if "injected-start" in results.conditions else "",
        operator=_operator(),
    )


def _not_measured(missing: dict[str, str]) -> str:
    return "".join(f"\nNot measured: {name} ({why}).\n" for name, why in sorted(missing.items()))


def _operator() -> str:
    """The section about controller and webhook; empty until both were measured."""
    controller, admission = Results.load(CONTROLLER), Results.load(ADMISSION)
    if not (controller.figures and admission.figures):
        return ""
    both, lines = (
        replace(controller, figures=controller.figures | admission.figures),
        CONTROLLER_LINES + ADMISSION_LINES,
    )
    found = "".join(f"\n- {text}" for text in missed(lines, both))
    return OPERATOR.format(
        table=figures(lines, both),
        gaps=f"Goals that it misses:\n{found}\n" if found else "It reaches all goals.\n",
        missing=_not_measured(controller.missing | admission.missing),
        date=both.date[:10],
        **(both.machine | both.conditions["controller"]),
    )


def with_fleet(results: Results) -> Results:
    """The results with those of 50 sidecars on one mailbox, if they were measured."""
    return replace(results, figures=results.figures | Results.load(FLEET).figures)


def differences(results: Results, document: str) -> str:
    """A diff between the page and the results; empty if they agree."""
    ours, theirs = document.splitlines(), page(results).splitlines()
    return "\n".join(difflib.unified_diff(ours, theirs, PAGE.name, "benchmarks/results", lineterm="", n=0))
