"""A few connections to Exchange, kept while there is mail and given up soon after.

A mailbox has three in all, shared by every pod that uses it: a pod with nothing to send must hold none.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

from o365mailer_sidecar.mailer import Mailer
from o365mailer_sidecar.smtp.connection import Connection
from o365mailer_sidecar.upstream.fair_share import FairShare, Next

IDLE_LIMIT: Final = 5.0
"""Seconds that a connection is kept without a message."""

LINGER: Final = 0.3
"""The same in seconds where others use the mailbox too: an app that sends its next message when it has read 250 keeps
its turn."""

PATIENCE: Final = 5.0
"""Seconds within which an app that was told 451 tries again, and still waits for the same turn."""

AGE_LIMIT: Final = 480.0
"""Seconds after AUTH: Exchange's front ends have been seen to end sessions after 10 minutes."""

MESSAGE_LIMIT: Final = 1000
"""Messages over one connection. Exchange names no limit and takes a second for each, so that age comes first; with a
faster host this is what lets another of its front ends have its turn, and a handshake in a thousand costs nothing."""

Connect = Callable[[Mailer], Awaitable[Connection]]


class Pool:
    """Lends connections, at most `limits.connections` at once; who comes first is served first."""

    def __init__(
        self,
        *,
        connect: Connect,
        window: FairShare,
        idle_limit: float = IDLE_LIMIT,
        age_limit: float = AGE_LIMIT,
        message_limit: int = MESSAGE_LIMIT,
    ) -> None:
        self.connect, self.idle_limit, self.age_limit, self.message_limit = (
            connect,
            idle_limit,
            age_limit,
            message_limit,
        )
        self.window = window
        self.limit = 1
        self.wanted_at = float("-inf")
        self.idle: list[Connection] = []
        self.used: dict[Connection, float] = {}
        """Seconds of submitting in this turn, of every connection that has had a message taken."""
        self.spent: set[Connection] = set()
        """Lent, and not to be kept."""
        self.ended: list[tuple[float, float]] = []
        """How long, and until when, the connections were used whose turn is over."""
        self.unproven = 0
        """Lent, and new."""
        self.lent = 0
        self.queue: deque[asyncio.Future[None]] = deque()
        self.closer: asyncio.TimerHandle | None = None
        self.alarm: asyncio.TimerHandle | None = None
        self.goodbyes: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return self.lent + len(self.idle)

    @asynccontextmanager
    async def lend(self, mailer: Mailer, *, fresh: bool = False) -> AsyncIterator[Connection]:
        """A connection that belongs to this mailer; with `fresh`, one that nobody has used.

        Raises what `connect` raises. On any error in the block the connection is cut off, not said goodbye to: what
        was sent of a message must not become one.
        """
        await self._slot(mailer.settings.limits.connections)
        newcomer = fresh or not self.idle
        self.unproven += newcomer
        try:
            connection = await self._connection(mailer, fresh=fresh)
            try:
                yield connection
            except BaseException:
                self._cut(connection)
                raise
            if connection.usable:
                self._keep(connection)
            else:
                self._cut(connection)
        finally:
            self.unproven -= newcomer
            self.wanted_at = self._now()
            self.lent -= 1
            self._settle_turns()
            self._serve_next()

    # --- Turns --------------------------------------------------------------------------------------------------------

    def accepted(self, connection: Connection, *, seconds: float) -> None:
        """A message on this lent connection was taken; it took so long."""
        used = self.used.get(connection, 0.0) + seconds
        following = self.window.accepted(
            held=len(self),
            first=connection not in self.used,
            seconds=seconds,
            used=used,
            limit=self.limit,
            now=self._now(),
        )
        self.used[connection] = used
        if following is Next.RENEW:
            self.used = dict.fromkeys(self.used, 0.0)
        elif following is Next.YIELD:
            self.spent.add(connection)

    def crowded(self, connection: Connection | None = None) -> None:
        """Exchange said 432, to this lent connection or to the one that was to be lent."""
        if connection:
            self.spent.add(connection)
        self.window.refused(held=len(self) - 1, now=self._now())

    def _settle_turns(self) -> None:
        """Tell the window of every turn that has ended since."""
        for used, then in self.ended:
            self.window.yielded(held=len(self), used=used, now=then)
        self.ended.clear()

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()

    # --- Waiting ------------------------------------------------------------------------------------------------------

    async def _slot(self, limit: int) -> None:
        self.limit, now = limit, self._now()
        if now - self.wanted_at > PATIENCE and not self.lent and not self.queue:
            self.window.wanted(now=now)
        self.wanted_at = now
        waited = False
        while not self._admits(limit, behind=waited, now=now):
            turn = asyncio.get_running_loop().create_future()
            # Whoever was woken in vain is the first again.
            (self.queue.appendleft if waited else self.queue.append)(turn)
            self._set_alarm(now=now)
            waited = True
            try:
                await turn
            except asyncio.CancelledError:
                self.wanted_at = self._now()
                if turn in self.queue:
                    self.queue.remove(turn)
                else:
                    self._serve_next()
                raise
            now = self._now()
        self.lent += 1
        self._serve_next()

    def _admits(self, limit: int, *, behind: bool, now: float) -> bool:
        if self.queue and not behind:
            return False
        if self.idle and self.lent < limit:
            return True
        return self.window.room(held=len(self), unproven=self.unproven, limit=limit, now=now)

    def _set_alarm(self, *, now: float) -> None:
        """Wake the first in the queue when the window's pause is over.

        By the same `now` as the refusal: a pause that ends between two looks at the clock would wake nobody.
        """
        loop = asyncio.get_running_loop()
        if self.window.resume_at <= now or len(self) >= self.limit:
            return
        if self.alarm:
            self.alarm.cancel()
        self.alarm = loop.call_at(self.window.resume_at, self._serve_next)

    def _serve_next(self) -> None:
        while self.queue:
            turn = self.queue.popleft()
            if not turn.done():
                turn.set_result(None)
                return

    # --- Connections --------------------------------------------------------------------------------------------------

    async def _connection(self, mailer: Mailer, *, fresh: bool) -> Connection:
        """The connection that was used last and suits; else a new one, in the place of an idle one if need be."""
        suitable = () if fresh else (one for one in reversed(self.idle) if self._suits(one, mailer))
        if connection := next(iter(suitable), None):
            self.idle.remove(connection)
            return connection
        if self.idle and (not fresh or self.window.crowded or len(self) > self.limit):
            oldest = self.idle.pop(0)
            self.used.pop(oldest, None)
            await oldest.quit()  # before another is opened: three is Exchange's limit, not ours
        return await self.connect(mailer)

    def _suits(self, connection: Connection, mailer: Mailer) -> bool:
        """Same mailbox, host and authorities; young and unworn enough, and its token not at its end.

        A session outlives a change of the token: what Exchange does when a session's token expires is undocumented, so
        it is not tried.
        """
        mine, theirs, now = connection.mailer, mailer, self._now()
        return (
            connection.usable
            and (mine.settings.mailbox, mine.settings.submission, mine.ca)
            == (theirs.settings.mailbox, theirs.settings.submission, theirs.ca)
            and now - connection.opened_at < self.age_limit
            and now < connection.ends_at
            and connection.messages < self.message_limit
        )

    def _keep(self, connection: Connection) -> None:
        connection.idle_since = self._now()
        if connection in self.spent:
            self._let_go(connection, yields=connection in self.used)
            return
        self.idle.append(connection)
        if not self.closer or self._patience < self.idle_limit:
            self._look_in(self._patience)

    @property
    def _patience(self) -> float:
        """Seconds without a message after which a connection is given up."""
        return min(self.idle_limit, LINGER) if self.window.shared(now=self._now()) else self.idle_limit

    def _look_in(self, seconds: float) -> None:
        if self.closer:
            self.closer.cancel()
        self.closer = asyncio.get_running_loop().call_later(seconds, self._look)

    def _look(self) -> None:
        """Close those whose time is over, though others are in use: the last used is lent first."""
        self.closer = None
        now = self._now()
        self.close_idle(since=now - self._patience)
        self._settle_turns()
        if self.idle:
            # Not at once, whatever rounding says: it would look again and again without time passing.
            self._look_in(max(self.idle[0].idle_since + self._patience - now, 0.001))

    def close_idle(self, *, since: float = float("inf")) -> None:
        """Say goodbye to every connection that nobody has used since then, a time of the event loop."""
        while self.idle and self.idle[0].idle_since <= since:  # appended when used: the oldest is first
            self._let_go(self.idle.pop(0), yields=self.window.crowded)

    def _let_go(self, connection: Connection, *, yields: bool) -> None:
        """Say goodbye; `yields`: its turn is over with it."""
        used = self.used.pop(connection, 0.0)
        if yields:
            self.ended.append((used, connection.idle_since))
        self.spent.discard(connection)
        goodbye = asyncio.ensure_future(connection.quit())
        self.goodbyes.add(goodbye)
        goodbye.add_done_callback(self.goodbyes.discard)

    def _cut(self, connection: Connection) -> None:
        self.used.pop(connection, None)
        self.spent.discard(connection)
        connection.abort()

    async def close(self) -> None:
        """Say goodbye to all that are idle, and wait for it."""
        for timer in (self.closer, self.alarm):
            if timer:
                timer.cancel()
        self.close_idle()
        if self.goodbyes:
            await asyncio.wait(self.goodbyes)
