"""Sessions over loopback, several at once, each answer held against the model."""

import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from support.cutting_host import CuttingHost
from support.sidecar_process import MailerDirectory, Sidecar, Wire, running

from fuzz.model import SIZE_LIMIT, Model

WARM: Final = 5_000
"""Commands and messages after which the relay has all the memory that it keeps."""
GROWTH: Final = 24 * 1024
"""KiB that it may still grow by: what it keeps of messages at once, and no more."""


class Disagreement(AssertionError):
    """The sidecar answered what the model does not allow, or something else arrived than was accepted."""


@dataclass
class Talk:
    """One session and what it is still owed."""

    wire: Wire
    model: Model = field(default_factory=Model)
    asked: list[bytes] = field(default_factory=list)
    """Lines whose replies are not read yet."""
    message: tuple[str, bytes] | None = None
    """The same for messages: the name and the bytes."""
    half_closed: bool = False
    log: list[bytes] = field(default_factory=list)
    last: str = ""
    """The reply that was read last."""


class Crowd:
    """Apps that talk at once. `inputs` counts commands and messages, `answered` the replies by code."""

    def __init__(self, sidecar: Sidecar, host: CuttingHost) -> None:
        self.sidecar, self.host = sidecar, host
        self.inputs = self.names = self.warm = 0
        self.answered: Counter[str] = Counter()

    def open(self) -> Talk:
        """Another app."""
        return Talk(Wire(self.sidecar.port))

    # --- Saying -----------------------------------------------------------------------------------------------------

    def say(self, talk: Talk, lines: list[bytes], pieces: list[bytes]) -> None:
        """Commands in one go; DATA may only be the last of them."""
        self.inputs += len(lines)
        talk.asked += lines
        self._send(talk, pieces)

    def say_message(self, talk: Talk, whole: bytes, pieces: list[bytes], name: str) -> None:
        """What follows 354."""
        self.inputs += 1
        talk.message = name, whole
        self._send(talk, pieces)

    def fresh_name(self) -> str:
        """For the next message."""
        self.names += 1
        return f"m{self.names}."

    def _send(self, talk: Talk, pieces: list[bytes]) -> None:
        talk.log += pieces
        with suppress(OSError):  # it was closed on us: whether it should have been is seen in the replies
            for piece in pieces:
                talk.wire.send(piece)

    def half_close(self, talk: Talk) -> None:
        """The app says nothing more, and still listens."""
        talk.half_closed = True
        with suppress(OSError):
            talk.wire.socket.shutdown(socket.SHUT_WR)

    # --- Hearing ----------------------------------------------------------------------------------------------------

    def hear(self, talk: Talk) -> str:
        """Every reply that is due, judged; the last one's code. Raises Disagreement."""
        code = ""
        while talk.asked and not talk.model.closed:
            line = talk.asked.pop(0)
            code = self._reply(talk)
            if code not in talk.model.codes(line):
                raise self._wrong(talk, f"{line[:200]!r} was answered {code}, not {sorted(talk.model.codes(line))}")
            talk.model.settle(line, code)
            if talk.model.expelled:
                self._expect_expulsion(talk)
        if talk.message and not talk.model.closed:
            code = self._hear_verdict(talk)
        return code

    def _hear_verdict(self, talk: Talk) -> str:
        assert talk.message is not None
        (name, whole), talk.message = talk.message, None
        codes, content = talk.model.body(whole)
        code = self._reply(talk)
        arrived = self.host.contents.get(name, [])
        if talk.half_closed and code == "":
            talk.model.closed = True
            return code
        if code not in codes:
            raise self._wrong(talk, f"{whole[:200]!r} was answered {code}, not {sorted(codes)}")
        if [one.endswith(content) for one in arrived] != ([True] if code == "250" else []):
            raise self._wrong(talk, f"{whole[:200]!r} was answered {code}, and arrived as {arrived!r:.500}")
        self.host.contents.pop(name, None)
        talk.model.delivered()
        return code

    def _expect_expulsion(self, talk: Talk) -> None:
        if self._reply(talk) != "421":
            raise self._wrong(talk, "too many bad commands, and no 421")
        talk.model.closed = True

    def _reply(self, talk: Talk) -> str:
        try:
            talk.last = talk.wire.reply()
        except TimeoutError:
            raise self._wrong(talk, "no reply") from None
        code = talk.last[:3]
        self.answered[code] += 1
        return code

    def end(self, talk: Talk) -> None:
        """Hears what is due; a session that the model closed must be closed."""
        if not self.warm and self.inputs > WARM:
            self.warm = resident(self.sidecar)
        self.hear(talk)
        if (talk.model.closed or talk.half_closed) and not talk.wire.closed():
            raise self._wrong(talk, "the session goes on")
        talk.wire.socket.close()

    def _wrong(self, talk: Talk, what: str) -> Disagreement:
        said = b"|".join(talk.log)
        return Disagreement(f"{what}; the last reply: {talk.last!r}; the session so far: {said[-3000:]!r}")


@contextmanager
def crowded(folder: Path) -> Iterator[Crowd]:
    """Apps of a relay that logs nothing of messages, before a host that accepts everything.

    Afterwards the relay has not grown, has logged no defect of its own, and another session has noticed nothing.
    """
    directory = MailerDirectory(folder)
    with CuttingHost() as host:
        host.describe(directory, logLevel="warning", limits={"messageSize": str(SIZE_LIMIT)})
        with running(directory.path) as sidecar, Wire(sidecar.port) as bystander:
            crowd = Crowd(sidecar, host)
            yield crowd
            assert bystander.ask("NOOP").startswith("250"), "another session noticed"
            assert sidecar.process.poll() is None
            assert [line for line in sidecar.log if line["level"] == "error"] == []
            assert not crowd.warm or resident(sidecar) - crowd.warm < GROWTH


def resident(sidecar: Sidecar) -> int:
    """KiB in memory."""
    status = Path(f"/proc/{sidecar.process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])
