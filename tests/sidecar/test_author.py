"""The addresses of From and Sender, read from bytes that any client may have written."""

import time
from contextlib import suppress
from email.headerregistry import HeaderRegistry
from email.policy import SMTP
from email.utils import formataddr
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from o365mailer_sidecar.message.address_list import Malformed, authors

LABEL = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=8)
ADDRESS = st.builds("{}@{}.{}".format, LABEL, LABEL, LABEL)
NAME = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20)


@pytest.mark.promise("senders-restricted")
@pytest.mark.parametrize(
    ("field", "expected"),
    [(b" a@b.c", ["a@b.c"]),
     (b"a@b.c", ["a@b.c"]),
     (b" <a@b.c>", ["a@b.c"]),
     (b" Shop <a@b.c>", ["a@b.c"]),
     (b' "Shop, the <x@y.z> one" <a@b.c>', ["a@b.c"]),
     (b' "a \\" b" <a@b.c>', ["a@b.c"]),
     (b" A@b.c <a@B.c>", ["a@B.c"]),
     (b' "x@y.z" <a@b.c>', ["a@b.c"]),
     (b" =?utf-8?q?x=40y=2Ez?= <a@b.c>", ["a@b.c"]),
     (b"\r\n Shop\r\n\t<a@b.c>", ["a@b.c"]),
     (b" a@b.c (Shop (the x@y.z) \\) one)", ["a@b.c"]),
     (b" (x@y.z, ) a@b.c", ["a@b.c"]),
     (b' "a b"@c.d', ['"a b"@c.d']),
     (b' <"a>b"@c.d>', ['"a>b"@c.d']),
     (b" a@b.c, Other <d@e.f>", ["a@b.c", "d@e.f"]),
     (b" a@b.c,, ", ["a@b.c"]),
     (b" Team: a@b.c, d@e.f;", ["a@b.c", "d@e.f"]),
     (b" Team: a@b.c;, d@e.f", ["a@b.c", "d@e.f"]),
     (b" a@[192.0.2.1]", ["a@[192.0.2.1]"]),
     (b" a@[IPv6:2001:db8::1]", ["a@[IPv6:2001:db8::1]"]),
     (b" App <a@[IPv6:2001:db8::1]>", ["a@[IPv6:2001:db8::1]"]),
     (b" <a@b.c(x)>", ["a@b.c"]),
     (b" <\r\n (x) (y) a@b.c (z) >", ["a@b.c"]),
     (b' <"a(b)"@c.d>', ['"a(b)"@c.d']),
     (b" root", ["root"]),
     (b" root (Cron Daemon)", ["root"]),
     ("M\u00fcller <m\u00fc@b.c>".encode(), ["m\u00fc@b.c"]),
     (b"M\xfcller <a@b.c>", ["a@b.c"]),
     (b"<m\xfc@b.c>", ["m\ufffd@b.c"])],
)  # fmt: skip
def test_every_address_of_a_field_is_found(field: bytes, expected: list[str]) -> None:
    assert [author.address for author in authors(field)] == expected


@pytest.mark.promise("senders-restricted")
@pytest.mark.parametrize(
    "field",
    [b"", b" ", b" ,", b" (a@b.c)", b" <>", b" Shop <>", b" undisclosed:;", b" Shop a@b.c", b" a @ b.c", b" a(x)@b.c",
     b" <a@b.c", b" a@b.c>", b" <a@b.c> <d@e.f>", b" <a@b.c> x@y.z", b" <@x.y:a@b.c>", b" <a@b.c@d.e>", b" a@b@c",
     b' "a@b.c', b" (a@b.c", b" a@b.c)", b" A: B: a@b.c;;", b" A: a@b.c", b" a@b.c;",
     b" <a@b.c>: d@e.f;",
     b" Mueller, Hans <a@b.c>, Shop x", b" a\\@b.c", b" <a b@c.d>",
     b" x@y.z <a@b.c>", b" Shop x@y.z <a@b.c>", b" Shop [x] <a@b.c>", b" Shop[x] <a@b.c>",
     b" =?utf-8?q?x@y.z?= <a@b.c>",
     b" a@b.c a@b.c <a@b.c>", b" x@y.z\xc2\xa0<a@b.c>", b" x@y.z: a@b.c;", b" : a@b.c;", b" <x@y.z>: a@b.c;",
     b" Shop, Inc <a@b.c>", b" Shop, VP of Things <a@b.c>", b" a@b.c, Shop", b" root, a@b.c",
     b" a(x@y.z)@b.c", b" <a@b.c (x@y.z)>", b" <a@b.c (x>)>", b" <a(x)@b.c>", b" =?utf-8?q?x?=@b.c",
     b" a\xc2\xa0x@b.c",
     b" a\x0bx@b.c", b" x@y.z\x0c<a@b.c>", b" a\x0b<a@b.c>", b" a\xe2\x80\x8b@b.c", b" a@b.c;x@y.z",
     b" " + b"a@b.c," * 20_000],
)  # fmt: skip
def test_what_two_readers_could_read_differently_is_not_read(field: bytes) -> None:
    with pytest.raises(Malformed):
        authors(field)


@pytest.mark.promise("senders-restricted")
@given(st.lists(st.tuples(NAME, ADDRESS), min_size=1, max_size=4))
def test_what_the_standard_library_writes_is_read_as_it_reads_it(people: list[tuple[str, str]]) -> None:
    field = ", ".join(formataddr(person) for person in people)
    theirs: Any = HeaderRegistry()("From", field)
    assert [author.address for author in authors(f" {field}".encode())] == [one.addr_spec for one in theirs.addresses]
    assert SMTP.header_factory("From", field) == theirs


@pytest.mark.promise("senders-restricted")
@given(st.binary(max_size=200) | st.text('ab@.,:;<>()"\\ \r\n\t', max_size=60).map(str.encode))
def test_any_bytes_are_read_or_refused_and_places_are_addresses(field: bytes) -> None:
    try:
        found = authors(field)
    except Malformed:
        return
    for author in found:
        data = field[author.place]
        assert author.address in data.decode("utf-8", "replace")
        assert field[author.whole].find(data) >= 0


@pytest.mark.promise("senders-restricted")
@pytest.mark.parametrize("data", [b"(", b'"', b"<", b"a", b"(a)", b'"\\', b"a,", b"\\", b"<a@", b":", b";", b"=?x?"])
def test_a_field_made_to_be_slow_is_not(data: bytes) -> None:
    began = time.process_time()
    with suppress(Malformed):
        authors((data * 65_536)[:65_536])
    assert time.process_time() - began < 1.0
