"""Keeps a valid leaf in a live TLS context, without a gap and without a new listener.

OpenSSL copies a context's certificate into each connection when the connection begins. So a new pair in the context
serves the next handshake, and handshakes in progress continue with the pair that they began with.
"""

import asyncio
import datetime
import logging
import os
import ssl
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from o365mailer_operator.pki.leaf import Leaf, UnusableAuthority, read_authority, sign_leaf

LOGGER: Final = logging.getLogger(__name__)
LONGEST_PAUSE: Final = 10.0
"""Seconds between two checks of the wall clock and of the directory. After the machine has slept, the next check renews
a leaf that became due meanwhile."""
SILENCE: Final = datetime.timedelta(minutes=1)
"""Between two log lines about an authority that cannot be used."""


class LeafKeeper:
    """One replica's leaf. `context` is the server's, for the life of the process."""

    def __init__(
        self,
        *,
        directory: Path,
        server_names: Iterable[str],
        lifetime: datetime.timedelta,
        clock: Callable[[], datetime.datetime],
    ) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.leaf: Leaf | None = None
        self.first = asyncio.Event()
        """Set once there has been a leaf."""
        self._directory = directory
        self._names = tuple(server_names)
        self._lifetime = lifetime
        self._clock = clock
        self._complained: datetime.datetime | None = None

    @property
    def valid(self) -> bool:
        """Whether a handshake now would show a certificate that has not expired."""
        return self.leaf is not None and self._clock() < self.leaf.not_after

    async def keep(self) -> None:
        """Checks until it is cancelled."""
        pause = min(LONGEST_PAUSE, self._lifetime.total_seconds() / 20)
        while True:
            self.check()
            await asyncio.sleep(pause)

    def check(self) -> None:
        """Signs and loads a new leaf if there is none, if two thirds of its life are over, if the authority in the
        directory is another one, or if the clock was set back to before its issue.

        If the authority cannot be used, the leaf stays as it is, and a warning is logged once a minute.
        """
        now = self._clock()
        try:
            authority = read_authority(self._directory)
            leaf = self.leaf
            if leaf and leaf.issuer == authority.serial and leaf.issued <= now < leaf.renewal():
                return
            leaf = sign_leaf(authority, server_names=self._names, now=now, lifetime=self._lifetime)
        except UnusableAuthority as error:
            self._complain(error, now)
            return
        _load(self.context, leaf)
        self.leaf = leaf
        self._complained = None
        self.first.set()
        LOGGER.info("leaf signed", extra={"serial": f"{leaf.pair.serial:x}", "notAfter": leaf.not_after.isoformat()})

    def _complain(self, error: UnusableAuthority, now: datetime.datetime) -> None:
        if self._complained is None or now - self._complained >= SILENCE:
            self._complained = now
            LOGGER.warning("no leaf can be signed", extra={"error": str(error), "valid": self.valid})


def _load(context: ssl.SSLContext, leaf: Leaf) -> None:
    """Through a file that exists in memory only: OpenSSL's binding takes paths, and a key belongs on no disk."""
    certificate, key = leaf.pair.pem()
    descriptor = os.memfd_create("leaf")
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(key + certificate)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
