"""`make demo`'s program shows what it promises, fails when it cannot, and leaves nothing."""

import os
import queue
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

import o365mailer_emulator

DEMO = Path(__file__).parents[2] / "demo" / "demo.py"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An environment in which what is left behind is seen."""
    return {**os.environ, "TMPDIR": str(tmp_path)}


def processes_in(folder: Path) -> list[str]:
    """Command lines of processes that name the folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if str(folder) in line:
            found.append(line)
    return found


def test_three_mails_arrive_with_three_tokens(environment: dict[str, str], tmp_path: Path) -> None:
    shown = subprocess.run(
        [sys.executable, str(DEMO)], env=environment, capture_output=True, text=True, timeout=55, cwd="/"
    )

    assert (shown.returncode, shown.stderr) == (0, "")
    assert "All 3 mails arrived, each with another token" in shown.stdout
    assert shown.stdout.count("the token was replaced; the relay kept running") == 2
    assert list(tmp_path.iterdir()) == []
    assert processes_in(tmp_path) == []


@pytest.fixture
def kept(environment: dict[str, str]) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """The demo with KEEP=1, once it stays."""
    process = subprocess.Popen(
        [sys.executable, "-u", str(DEMO)], env={**environment, "KEEP": "1"}, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    stream, heard = process.stdout, queue.SimpleQueue[str]()
    lines: list[str] = []

    def listen() -> None:
        for line in stream:
            heard.put(line)
        heard.put("")

    listener = threading.Thread(target=listen)
    listener.start()
    try:
        while "Ctrl-C ends it" not in (line := heard.get(timeout=55)):
            assert line, f"the demo ended: {lines}"
            lines.append(line)
        yield process, lines
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(timeout=30)
        listener.join()
        stream.close()


def test_kept_it_stays_until_ctrl_c(kept: tuple[subprocess.Popen[str], list[str]], tmp_path: Path) -> None:
    process, lines = kept
    (page,) = [line.split()[-1] for line in lines if "The page:" in line]

    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(page, timeout=10) as answer:
        assert b"noreply@contoso.com" in answer.read()
    process.send_signal(signal.SIGINT)

    assert process.wait(timeout=30) == 0
    assert processes_in(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_a_demo_that_cannot_start_says_so(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "o365mailer_emulator").mkdir()
    real = Path(o365mailer_emulator.__file__).parent
    (tmp_path / "o365mailer_emulator" / "__init__.py").write_text(f"__path__.append({str(real)!r})\n")
    (tmp_path / "o365mailer_emulator" / "main.py").write_text("raise SystemExit('broken on purpose')\n")
    broken = {**environment, "PYTHONPATH": str(tmp_path)}

    shown = subprocess.run([sys.executable, str(DEMO)], env=broken, capture_output=True, text=True, timeout=55)

    assert shown.returncode == 1
    assert "The demo failed: the emulator ended: " in shown.stderr
    assert "broken on purpose" in shown.stderr
