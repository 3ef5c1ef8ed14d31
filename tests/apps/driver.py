"""Runs one program in one scenario: the real program, the real sidecar process, and the emulator."""

from __future__ import annotations

import base64
import concurrent.futures
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from apps import installing, letter
from apps.programs import Program
from apps.scenarios import PLAIN, Scenario
from apps.tap import Tap
from cluster_rig.errors import MachineLacksError
from cluster_rig.requirements import search_path
from support.emulator_client import EmulatorClient
from support.sidecar_process import MailerDirectory, Sidecar, document, running

WITHIN = 50.0
"""Seconds for one program; a JVM on a busy machine needs some."""

OK = 250

HEAD = re.compile(
    rb"Received: by o365mailer with E?SMTPA? id \w+;\r\n\t[^\r\n]+\r\n"
    rb"(?:From: [^\r\n]+\r\n)?(?:Date: [^\r\n]+\r\n)?(?:Message-ID: [^\r\n]+\r\n)?"
)
"""All that the sidecar may put before a message."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """What came of it."""

    told: str
    """What code sees: `ok`, an exception's name, an exit status."""
    text: str
    """What a person reads."""
    logged_in: bool
    sent: tuple[bytes, ...]
    """The messages that the program sent, as they were on the wire."""
    arrived: tuple[tuple[tuple[str, ...], bytes], ...]
    """The recipients and the bytes of each message in the mailbox."""
    form: str
    """How the program wrote the text: as it is, encoded so that it reads the same, or altered."""


def lacks(program: Program) -> str:
    """What this machine lacks for the program; empty: nothing."""
    lacking = [f"{name} is not installed" for name in program.tools if not shutil.which(name, path=search_path())]
    lacking += [f"{name} is not there" for name in program.files if not Path(name).exists()]
    if program.root and os.geteuid():
        lacking.append(f"{program.name} runs as root only")
    return ", ".join(lacking)


def prepared(program: Program) -> Mapping[str, str]:
    """Installs what the program needs. Raises MachineLacksError."""
    if lacking := lacks(program):
        raise MachineLacksError(lacking)
    return program.prepare()


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What the program sends to."""

    emulator: EmulatorClient
    sidecar: Sidecar
    stranded: Sidecar
    """A sidecar that has no host to submit to."""


@contextlib.contextmanager
def stage(emulator: EmulatorClient, folder: Path) -> Iterator[Stage]:
    """Two new sidecars."""
    emulator.reset()
    near, far = MailerDirectory(folder / "near"), MailerDirectory(folder / "far")
    near.write_for(emulator, recipients={"allowedDomains": ["example.com"]})
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))  # never listening: connections are refused, and no other process gets the port
        settings = document("127.0.0.1", deaf.getsockname()[1])
        far.write(access_token=emulator.issue_token(), mailer_json=json.dumps(settings))
        with running(near.path) as sidecar, running(far.path) as stranded:
            yield Stage(emulator=emulator, sidecar=sidecar, stranded=stranded)


def run(program: Program, scenario: Scenario, *, stage: Stage, environment: Mapping[str, str]) -> Run:
    """The program, started once."""
    stage.emulator.reset()
    if scenario.rule:
        stage.emulator.script(**scenario.rule)
    tap = Tap((stage.stranded if scenario.away else stage.sidecar).port)
    folder = Path(tempfile.mkdtemp(prefix="o365mailer-app-"))
    try:
        told, text = report(start(program, scenario, port=tap.port, folder=folder, environment=environment))
    finally:
        tap.close()
        shutil.rmtree(folder)
    logged_in = any(re.search(rb"^AUTH ", said, re.MULTILINE) for said in tap.said)
    sent = tuple(tap.messages())
    return Run(
        told=told,
        text=text,
        logged_in=logged_in,
        sent=sent,
        arrived=arrived(stage.emulator),
        form=form(scenario, sent[0]) if sent else "",
    )


def patience(
    program: Program, *, stage: Stage, environment: Mapping[str, str], at_most: float, within: float = WITHIN
) -> float | None:
    """Seconds that it waits for the reply to its message before it closes the connection; None: longer than `at_most`.

    Raises AssertionError where it has sent no message after `within` seconds.
    """
    tap = Tap(stage.sidecar.port, hold=True)
    folder = Path(tempfile.mkdtemp(prefix="o365mailer-app-"))
    command, asked = started(
        program, PLAIN, port=tap.port, folder=folder, environment=environment, within=at_most + within
    )
    process = subprocess.Popen(
        command,
        cwd=installing.SOURCES,
        env=asked,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        assert tap.held.wait(within), f"{program.name} has sent no message"
        since = time.monotonic()
        return time.monotonic() - since if tap.left.wait(at_most) else None
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        tap.close()
        shutil.rmtree(folder, ignore_errors=True)


def patiences(
    programs: Sequence[Program], environments: Mapping[str, Mapping[str, str]], *, stage: Stage, at_most: float
) -> dict[str, float | None]:
    """`patience` of each, all at once: they do nothing but wait."""
    with concurrent.futures.ThreadPoolExecutor(len(programs)) as threads:
        waiting = {
            program.name: threads.submit(
                patience, program, stage=stage, environment=environments[program.name], at_most=at_most, within=180
            )
            for program in programs
        }
        return {name: each.result() for name, each in waiting.items()}


def start(
    program: Program, scenario: Scenario, *, port: int, folder: Path, environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """The program, to its end."""
    command, asked = started(program, scenario, port=port, folder=folder, environment=environment, within=30)
    return subprocess.run(
        command,
        cwd=installing.SOURCES,
        env=asked,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=WITHIN,
    )


def started(
    program: Program,
    scenario: Scenario,
    *,
    port: int,
    folder: Path,
    environment: Mapping[str, str],
    within: float,
) -> tuple[list[str], dict[str, str]]:
    """Its command line and its environment: nothing of this process's environment is handed on but the path."""
    asked = {
        "PATH": search_path(),
        "HOME": str(folder),
        "WORK": str(folder),
        "LANG": "C.UTF-8",
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "SCENARIO": scenario.name,
        "LOGIN": "app" if scenario.login else "",
        "SECRET": "not-a-secret",
        "STARTTLS": "1" if scenario.starttls else "",
        "WITHIN": str(within),
    }
    asked |= letter.write(scenario, folder)
    command = [word.format_map({**asked, **environment}) for word in program.command]
    if (installing.SOURCES / command[0]).is_file():
        command[0] = str(installing.SOURCES / command[0])
    return command, {**asked, **environment}


def report(ended: subprocess.CompletedProcess[str]) -> tuple[str, str]:
    """A library's program says it in a line of JSON; a command line tool by its exit status and what it writes."""
    with contextlib.suppress(ValueError, IndexError, TypeError, KeyError):
        said: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
        return str(said["told"]), f"{said['text']}\n{ended.stderr}".strip()
    told = "ok" if ended.returncode == 0 else f"exit {ended.returncode}"
    return told, (ended.stdout + ended.stderr).strip()


def arrived(emulator: EmulatorClient) -> tuple[tuple[tuple[str, ...], bytes], ...]:
    """What is in the mailbox."""
    return tuple((tuple(m["recipients"]), base64.b64decode(m["content"])) for m in emulator.messages())


def unchanged(content: bytes, sent: bytes) -> bool:
    """Whether a message that arrived is what was sent: our head before it, a lone LF made CRLF, nothing else."""
    wanted = re.sub(rb"(?<!\r)\n", b"\r\n", sent)
    return content.endswith(wanted) and HEAD.fullmatch(content[: len(content) - len(wanted)]) is not None


def outcome(scenario: Scenario, run: Run) -> dict[str, Any]:
    """What docs/apps.md tells of it, and results.json keeps."""
    kept: dict[str, Any] = {"told": run.told, "arrived": [list(recipients) for recipients, _ in run.arrived]}
    if run.arrived:
        kept["form"] = run.form
    if scenario.code != OK or run.told != "ok":
        said = scenario.code != OK and re.search(rf"\b{scenario.code}\b", f"{run.told} {run.text}")
        kept["code"] = scenario.code if said else None
        kept["reason"] = scenario.words != "" and scenario.words in run.text
    return kept


def form(scenario: Scenario, sent: bytes) -> str:
    """See `Run.form`."""
    if scenario.text.encode().replace(b"\n", b"\r\n") in sent:
        return "as it is"
    return "encoded" if letter.says(sent)[1].rstrip("\n") == scenario.text.rstrip("\n") else "altered"
