"""Many requests at once, with a bound and a deadline for all of them."""

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from o365mailer_cli.errors import ClusterError, Unavailable

Result = TypeVar("Result")

CONNECTIONS: Final = 16
"""The most requests at once: the API server's fair queueing holds back a user who asks for more."""


def together(calls: Sequence[Callable[[], Result]], *, seconds: float) -> list[Result | ClusterError]:
    """What each call returned, or the ClusterError that it raised, in order. CONNECTIONS run at a time.

    A call that is not done after `seconds` is Unavailable. Any other error is raised. The threads are daemons, so that
    Ctrl-C and the deadline do not wait for them.
    """
    waiting: queue.SimpleQueue[tuple[int, Callable[[], Result]]] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[int, Result | BaseException]] = queue.SimpleQueue()
    for numbered in enumerate(calls):
        waiting.put(numbered)

    def work() -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                number, call = waiting.get_nowait()
                try:
                    done.put((number, call()))
                except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
                    done.put((number, error))

    for _ in range(min(CONNECTIONS, len(calls))):
        threading.Thread(target=work, daemon=True).start()
    late = Unavailable(f"not done within {seconds:g} s")
    results: list[Result | ClusterError] = [late] * len(calls)
    end = time.monotonic() + seconds
    for _ in calls:
        try:
            number, result = done.get(timeout=max(0.0, end - time.monotonic()))
        except queue.Empty:
            break
        if isinstance(result, BaseException) and not isinstance(result, ClusterError):
            raise result
        results[number] = result
    return results
