"""A few connections to Exchange, kept while there is mail and closed soon after.

A mailbox has three in all, shared by every pod that uses it: a pod with nothing to send must hold none. When one may be
opened, and when one must be closed though there is mail, is for `FairShare` to say.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from o365mailer_sidecar.mailer import Mailer
from o365mailer_sidecar.smtp.connection import Connection
from o365mailer_sidecar.upstream.fair_share import FairShare

IDLE_LIMIT: Final = 5.0
"""Seconds that a connection is kept without a message."""

AGE_LIMIT: Final = 480.0
"""Seconds after AUTH: Exchange's front ends have been seen to end sessions after 10 minutes."""

MESSAGE_LIMIT: Final = 1000
"""Messages over one connection. Exchange names no limit and takes a second for each, so that age comes first. A faster
host gets to use another of its front ends, and a handshake in a thousand costs nothing."""

Connect = Callable[[Mailer], Awaitable[Connection]]


class Pool:
    """Lends connections, at most `limits.connections` at once, in the order of asking."""

    def __init__(
        self,
        *,
        connect: Connect,
        share: FairShare,
        idle_limit: float = IDLE_LIMIT,
        age_limit: float = AGE_LIMIT,
        message_limit: int = MESSAGE_LIMIT,
    ) -> None:
        self.connect, self.share = connect, share
        self.loop = asyncio.get_running_loop()
        self.idle_limit, self.age_limit, self.message_limit = idle_limit, age_limit, message_limit
        self.limit = 1
        self.idle: list[Connection] = []
        """The connection that was used last is the last."""
        self.lent = 0
        self.waiters: deque[asyncio.Future[None]] = deque()
        self.closer: asyncio.TimerHandle | None = None
        self.alarm: asyncio.TimerHandle | None = None
        self.goodbyes: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return self.lent + len(self.idle)

    async def take(self, mailer: Mailer, *, fresh: bool = False) -> Connection:
        """A connection that belongs to this mailer; with `fresh`, an unused one. Raises what `connect` raises.

        `give_back` or `cut` must follow.
        """
        await self._turn(mailer.settings.limits.connections)
        try:
            for connection in () if fresh else reversed(self.idle):
                if self._suits(connection, mailer):
                    self.idle.remove(connection)
                    return connection
            return await self._opened(mailer, fresh=fresh)
        except BaseException:
            self._returned()
            raise

    def give_back(self, connection: Connection) -> None:
        """Take a connection back. It works, and Exchange has answered its message."""
        if not connection.usable:
            self.cut(connection)
            return
        connection.idle_since = self.loop.time()
        if self.share.keeps(connection):
            self.idle.append(connection)
            if not self.closer or self._patience < self.idle_limit:
                self._look_in(self._patience)
        else:
            self._let_go(connection)
        self._returned()

    def cut(self, connection: Connection) -> None:
        """Close a connection without QUIT, so that Exchange does not deliver an incomplete message."""
        self.share.lost(connection)
        connection.abort()
        self._returned()

    def _returned(self) -> None:
        self.share.wanted(anew=False, now=self.loop.time())
        self.lent -= 1
        if self.waiters:
            self._serve_next()

    # --- Waiting ------------------------------------------------------------------------------------------------------

    async def _turn(self, limit: int) -> None:
        """Wait until a connection may be lent, and count it as lent."""
        self.limit, now = limit, self.loop.time()
        self.share.wanted(anew=not (self.lent or self.waiters), now=now)
        first = not self.waiters
        while not (first and self._admits(now=now)):
            waiter = self.loop.create_future()
            # One that was woken but not admitted goes back to the head of the queue.
            (self.waiters.appendleft if first else self.waiters.append)(waiter)
            self._set_alarm(now=now)
            try:
                await waiter
            except asyncio.CancelledError:
                self.share.wanted(anew=False, now=self.loop.time())
                if waiter in self.waiters:
                    self.waiters.remove(waiter)
                else:
                    self._serve_next()
                raise
            first, now = True, self.loop.time()
        self.lent += 1
        if self.waiters:
            self._serve_next()

    def _admits(self, *, now: float) -> bool:
        return (bool(self.idle) and self.lent < self.limit) or self.share.may_open(limit=self.limit, now=now)

    def _set_alarm(self, *, now: float) -> None:
        """Wake the first in the queue when the share's pause is over.

        By the same `now` as the refusal: a pause that ends between two looks at the clock would wake no waiter.
        """
        if self.share.resume_at <= now or len(self) >= self.limit:
            return
        if self.alarm:
            self.alarm.cancel()
        self.alarm = self.loop.call_at(self.share.resume_at, self._serve_next)

    def _serve_next(self) -> None:
        while self.waiters:
            waiter = self.waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    # --- Connections --------------------------------------------------------------------------------------------------

    async def _opened(self, mailer: Mailer, *, fresh: bool) -> Connection:
        """A new connection, in the place of an idle one if need be."""
        oldest = None
        if self.idle and (not fresh or self.share.sharing or len(self) > self.limit):
            oldest = self.idle.pop(0)
            self.share.lost(oldest)
        self.share.opening()
        try:
            if oldest:
                await oldest.quit()  # before another is opened: three is Exchange's limit, not ours
            return await self.connect(mailer)
        except BaseException:
            self.share.lost(None)
            raise

    def _suits(self, connection: Connection, mailer: Mailer) -> bool:
        """Same mailbox, host and authorities; neither too old nor used too often, and its token does not expire soon.

        A session outlives a change of the token: what Exchange does when a session's token expires is undocumented, so
        it is not tried.
        """
        mine, now = connection.mailer, self.loop.time()
        return (
            connection.usable
            and (
                mine is mailer
                or (mine.settings.mailbox, mine.settings.submission, mine.ca)
                == (mailer.settings.mailbox, mailer.settings.submission, mailer.ca)
            )
            and now - connection.opened_at < self.age_limit
            and now < connection.ends_at
            and connection.messages < self.message_limit
        )

    @property
    def _patience(self) -> float:
        """Seconds without a message after which a connection is closed."""
        return min(self.idle_limit, self.share.linger(now=self.loop.time()))

    def _look_in(self, seconds: float) -> None:
        if self.closer:
            self.closer.cancel()
        self.closer = self.loop.call_later(seconds, self._look)

    def _look(self) -> None:
        """Close idle connections whose time is over. Others may be in use: the pool lends the last used one first."""
        self.closer = None
        now = self.loop.time()
        self.close_idle(since=now - self._patience)
        if self.idle:
            # Not at once, whatever rounding says: it would look again and again without time passing.
            self._look_in(max(self.idle[0].idle_since + self._patience - now, 0.001))

    def close_idle(self, *, since: float = float("inf")) -> None:
        """Send QUIT on every connection that was not used since then, a time of the event loop."""
        while self.idle and self.idle[0].idle_since <= since:
            self._let_go(self.idle.pop(0))

    def _let_go(self, connection: Connection) -> None:
        self.share.released(connection, at=connection.idle_since)
        goodbye = asyncio.ensure_future(connection.quit())
        self.goodbyes.add(goodbye)
        goodbye.add_done_callback(self.goodbyes.discard)

    async def close(self) -> None:
        """Send QUIT on all idle connections, and wait until they are closed."""
        for timer in (self.closer, self.alarm):
            if timer:
                timer.cancel()
        self.close_idle()
        if self.goodbyes:
            await asyncio.wait(self.goodbyes)
