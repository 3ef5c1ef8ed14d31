"""The bytes of a message: what ends it, what it means, what is refused."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from o365mailer_sidecar.errors import Refused
from o365mailer_sidecar.message.body import BodyReader, LineEndings

line_bytes = st.binary(max_size=400).map(lambda text: text.translate(None, b"\r\n\0"))
lines = st.lists(st.one_of(st.sampled_from([b"", b".", b"..", b".x", b"x."]), line_bytes), max_size=12)


def read(
    wire: bytes, *, cuts: tuple[int, ...] = (), endings: LineEndings = "Normalize", limit: int = 10**6
) -> BodyReader:
    """A reader fed with `wire` in pieces; the data must end with its last byte."""
    reader = BodyReader(size_limit=limit, line_endings=endings)
    edges = sorted({0, len(wire), *(cut % (len(wire) + 1) for cut in cuts)})
    results = [reader.feed(wire[start:end]) for start, end in pairwise(edges)]
    assert results[-1] == b"", "the data did not end"
    assert results[:-1] == [None] * (len(results) - 1), "the data ended early"
    return reader


def stuffed(text: list[bytes]) -> bytes:
    """What a client sends for these lines."""
    return b"".join((b"." + line if line.startswith(b".") else line) + b"\r\n" for line in text) + b".\r\n"


@pytest.mark.promise("message-unchanged")
@given(text=lines, cuts=st.lists(st.integers(0, 5000), max_size=8))
def test_what_was_stuffed_is_read_as_it_was_however_it_is_cut(text: list[bytes], cuts: list[int]) -> None:
    reader = read(stuffed(text), cuts=tuple(cuts))
    assert bytes(reader.body().content) == b"".join(line + b"\r\n" for line in text)


@given(text=lines, cuts=st.lists(st.integers(0, 5000), max_size=8))
def test_a_lone_lf_becomes_a_line_end_however_it_is_cut(text: list[bytes], cuts: list[int]) -> None:
    wire = b"first\n" + b"\n".join(text) + b"\r\n.\r\n"
    expected = b"first\r\n" + b"".join(line.removeprefix(b".") + b"\r\n" for line in text or [b""])
    assert bytes(read(wire, cuts=tuple(cuts)).body().content) == expected


@given(wire=st.lists(st.sampled_from([b"\r", b"\n", b".", b"\r\n", b"a", b"\0"]), max_size=14).map(b"".join))
def test_only_crlf_dot_crlf_ends_the_data_and_nothing_read_can_end_it_again(wire: bytes) -> None:
    whole = wire + b"\r\n.\r\n"
    reader = BodyReader(size_limit=10**6, line_endings="Normalize")
    after = None
    for position in range(len(whole)):
        after = reader.feed(whole[position : position + 1])
        if after is not None:
            break
    assert (b"\r\n" + whole[: position + 1]).endswith(b"\r\n.\r\n")
    assert (b"\r\n" + whole[:position]).find(b"\r\n.\r\n") < 0
    try:
        content = bytes(reader.body().content)
    except Refused:
        return
    assert content.count(b"\r") == content.count(b"\n") == content.count(b"\r\n")


@pytest.mark.parametrize(
    ("content", "text"),
    [(b"a\rb", "The message holds a lone CR; lines end with CRLF"),
     (b"a\r\r\nb", "The message holds a lone CR; lines end with CRLF"),
     (b"a\0b", "The message holds a NUL; encode binary parts as base64")],
)  # fmt: skip
@pytest.mark.parametrize("endings", ["Normalize", "Reject"])
def test_a_lone_cr_and_a_nul_are_always_refused(content: bytes, text: str, endings: LineEndings) -> None:
    reader = read(content + b"\r\n.\r\n", endings=endings)
    with pytest.raises(Refused) as refusal:
        reader.body()
    assert (refusal.value.reply.code, refusal.value.reply.text, refusal.value.close) == (554, text, False)


def test_a_lone_lf_is_refused_where_the_mailer_says_so() -> None:
    reader = read(b"a\nb\r\n.\r\n", endings="Reject")
    with pytest.raises(Refused, match="holds a lone LF; lines end with CRLF"):
        reader.body()
    assert bytes(read(b"a\r\nb\r\n.\r\n", endings="Reject").body().content) == b"a\r\nb\r\n"


def test_the_limit_is_judged_at_the_end_and_nothing_beyond_it_is_kept() -> None:
    assert len(read(b"x" * 98 + b"\r\n.\r\n", limit=100).body()) == 100
    reader = read(b"x" * 99 + b"\r\n.\r\n", limit=100)
    assert len(reader.content) == 0
    with pytest.raises(Refused, match="the limit is 100 bytes"):
        reader.body()


def test_what_follows_the_end_is_given_back() -> None:
    reader = BodyReader(size_limit=100, line_endings="Normalize")
    assert reader.feed(b"a\r\n.\r\nQUIT\r\n") == b"QUIT\r\n"
    assert bytes(reader.body().content) == b"a\r\n"


def test_eight_bit_bytes_are_noticed() -> None:
    assert read(b"\xe4\r\n.\r\n").body().eight_bit
    assert not read(b"a\r\n.\r\n").body().eight_bit
