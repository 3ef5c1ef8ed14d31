"""A few connections to Exchange, kept while there is mail and given up soon after.

A mailbox has three in all, shared by every pod that uses it: a pod with nothing to send must hold none.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

from o365mailer_sidecar.connection import Connection
from o365mailer_sidecar.directory import Mailer

IDLE_LIMIT: Final = 5.0
"""Seconds that a connection is kept without a message."""

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
        self.idle: list[Connection] = []
        self.lent = 0
        self.queue: deque[asyncio.Future[None]] = deque()
        self.closer: asyncio.TimerHandle | None = None
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
        try:
            connection = await self._connection(mailer, fresh=fresh)
            try:
                yield connection
            except BaseException:
                connection.abort()
                raise
            if connection.usable:
                self._keep(connection)
            else:
                connection.abort()
        finally:
            self.lent -= 1
            self._serve_next()

    async def _slot(self, limit: int) -> None:
        while self.lent >= limit:
            turn = asyncio.get_running_loop().create_future()
            self.queue.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if turn in self.queue:
                    self.queue.remove(turn)
                else:
                    self._serve_next()
                raise
        self.lent += 1

    def _serve_next(self) -> None:
        while self.queue:
            turn = self.queue.popleft()
            if not turn.done():
                turn.set_result(None)
                return

    async def _connection(self, mailer: Mailer, *, fresh: bool) -> Connection:
        while self.idle:
            connection = self.idle.pop()
            if not fresh and self._suits(connection, mailer):
                return connection
            await connection.quit()  # before another is opened: three is Exchange's limit, not ours
        return await self.connect(mailer)

    def _suits(self, connection: Connection, mailer: Mailer) -> bool:
        """Same mailbox, host and authorities; young and unworn enough, and its token not at its end.

        A session outlives a change of the token: what Exchange does when a session's token expires is undocumented, so
        it is not tried.
        """
        mine, theirs = connection.mailer, mailer
        loop = asyncio.get_running_loop()
        return (
            connection.usable
            and (mine.settings.mailbox, mine.settings.submission, mine.ca)
            == (theirs.settings.mailbox, theirs.settings.submission, theirs.ca)
            and loop.time() - connection.opened_at < self.age_limit
            and loop.time() < connection.ends_at
            and connection.messages < self.message_limit
        )

    def _keep(self, connection: Connection) -> None:
        connection.idle_since = asyncio.get_running_loop().time()
        self.idle.append(connection)
        if not self.closer:
            self.closer = asyncio.get_running_loop().call_later(self.idle_limit, self._look)

    def _look(self) -> None:
        """Close those whose time is over, though others are in use: the last used is lent first."""
        loop = asyncio.get_running_loop()
        self.close_idle(since=loop.time() - self.idle_limit)
        self.closer = loop.call_at(self.idle[0].idle_since + self.idle_limit, self._look) if self.idle else None

    def close_idle(self, *, since: float = float("inf")) -> None:
        """Say goodbye to every connection that nobody has used since then, a time of the event loop."""
        while self.idle and self.idle[0].idle_since <= since:  # appended when used: the oldest is first
            goodbye = asyncio.ensure_future(self.idle.pop(0).quit())
            self.goodbyes.add(goodbye)
            goodbye.add_done_callback(self.goodbyes.discard)

    async def close(self) -> None:
        """Say goodbye to all that are idle, and wait for it."""
        if self.closer:
            self.closer.cancel()
        self.close_idle()
        if self.goodbyes:
            await asyncio.wait(self.goodbyes)
