"""A blocking call outside the event loop gives back what it returns or raises, and holds nothing up."""

import asyncio
import subprocess
import sys
import threading

import pytest

from o365mailer_operator.token.entra import in_daemon_thread


async def test_the_result_comes_back() -> None:
    assert await in_daemon_thread(lambda: threading.current_thread().name, name="mint") == "mint"


async def test_an_error_comes_back() -> None:
    def fail() -> None:
        raise LookupError("gone")

    with pytest.raises(LookupError, match="gone"):
        await in_daemon_thread(fail, name="mint")


async def test_who_no_longer_waits_does_not_hear_the_end() -> None:
    go, done = threading.Event(), threading.Event()

    def work() -> None:
        go.wait()
        done.set()

    waiting = asyncio.create_task(in_daemon_thread(work, name="mint"))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    go.set()
    assert await asyncio.to_thread(done.wait, 5)


def test_a_call_that_hangs_does_not_keep_the_process() -> None:
    program = """
import asyncio, threading
from o365mailer_operator.token.entra import in_daemon_thread
async def main():
    try:
        async with asyncio.timeout(0.1):
            await in_daemon_thread(threading.Event().wait, name="mint")
    except TimeoutError:
        print("given up")
asyncio.run(main())
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30)

    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "given up\n", "")
