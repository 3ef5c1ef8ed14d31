"""The bytes of a connection, however they are cut into pieces on their way."""

import asyncio
import itertools
import smtplib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from o365mailer_emulator.errors import ConnectionEnded, LineTooLong
from o365mailer_emulator.wire import Wire

lines = st.lists(st.binary(max_size=12).map(lambda line: line.replace(b"\r", b"").replace(b"\n", b"")), max_size=8)
dotted = st.lists(st.sampled_from([b".", b"..", b"", b".x", b"x.", b"\x00\xff"]), max_size=8)


def fed(data: bytes, cuts: list[int]) -> Wire:
    """A wire that got the bytes in pieces."""
    wire = Wire()
    places = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    for begin, end in itertools.pairwise(places):
        wire.data_received(data[begin:end])
    return wire


@given(lines=lines | dotted, cuts=st.lists(st.integers(0, 1000)))
def test_data_comes_out_as_a_client_put_it_in(lines: list[bytes], cuts: list[int]) -> None:
    content = b"".join(line + b"\r\n" for line in lines)
    stuffed = smtplib._quote_periods(content)  # type: ignore[attr-defined]  # noqa: SLF001 - the client's own stuffing
    wire = fed(stuffed + b".\r\nNEXT\r\n", cuts)

    async def read() -> tuple[bytes, bytes]:
        return await wire.data(limit=10_000), await wire.line(limit=100)

    assert asyncio.run(read()) == (content, b"NEXT")


async def test_pieces_that_come_later_are_waited_for() -> None:
    wire = Wire()
    reading = asyncio.create_task(wire.data(limit=100))
    for byte in b"a\r\n.\r\n":
        await asyncio.sleep(0)
        assert not reading.done()
        wire.data_received(bytes([byte]))
    assert await reading == b"a\r\n"


async def test_a_line_over_the_limit_is_thrown_away_and_the_next_is_read() -> None:
    wire = fed(b"x" * 50 + b"\r\nnext\r\n", [7, 30])
    with pytest.raises(LineTooLong):
        await wire.line(limit=20)
    assert await wire.line(limit=20) == b"next"


async def test_the_end_of_the_connection_ends_the_wait() -> None:
    wire = fed(b"half a li", [])
    reading = asyncio.create_task(wire.line(limit=100))
    await asyncio.sleep(0)
    wire.connection_lost(None)
    with pytest.raises(ConnectionEnded):
        await reading
