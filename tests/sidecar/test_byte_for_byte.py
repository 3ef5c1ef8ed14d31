"""The body that the mailbox gets is what the app wrote, byte for byte."""

import base64
import random

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from support.emulator_client import EmulatorClient
from support.sidecar_process import Sidecar, Wire

line = st.one_of(
    st.sampled_from([b"", b".", b"..", b"...", b". ", b"From x", b"\xff\xfe", b"\t", b"x" * 998, b"x" * 5000]),
    st.binary(max_size=200).map(lambda text: text.translate(None, b"\r\n\0")),
)


@pytest.mark.promise("message-unchanged")
@pytest.mark.timeout(180)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(text=[])
@example(text=[b"", b"."])
@example(text=[b"Subject: x", b" folded", b"", b"..", b"."])
@given(text=st.lists(line, max_size=20))
def test_every_body_arrives_as_it_was_written(emulator: EmulatorClient, sidecar: Sidecar, text: list[bytes]) -> None:
    before = len(emulator.messages())
    text = [b"Subject: x", b"", *text]
    body = b"".join(part + b"\r\n" for part in text)
    with Wire(sidecar.port) as app:
        app.begin()
        reply = app.deliver(b"".join((b"." if part.startswith(b".") else b"") + part + b"\r\n" for part in text))
    assert reply.startswith("250"), reply
    content = base64.b64decode(emulator.messages()[before]["content"])
    assert content.startswith(b"Received: by o365mailer with ESMTP id ")
    assert content.endswith(body)
    ours = content[: len(content) - len(body)]
    assert ours.count(b"\r\n") == 5, "Received, From, Date and Message-ID, and nothing else"


@pytest.mark.promise("message-unchanged")
@pytest.mark.parametrize("body", [b"", b"\r\n", b"no header\r\nat all\r\n", b"\r\n..\r\n"])
def test_a_message_without_a_header_is_all_body(emulator: EmulatorClient, sidecar: Sidecar, body: bytes) -> None:
    with Wire(sidecar.port) as app:
        app.begin()
        assert app.deliver(body).startswith("250")
    (message,) = emulator.messages()
    _, empty_line, arrived = base64.b64decode(message["content"]).partition(b"\r\n\r\n")
    assert (empty_line, arrived) == (b"\r\n\r\n", body.removeprefix(b"\r\n").replace(b"..", b"."))


@pytest.mark.promise("message-unchanged")
def test_a_large_message_arrives_whole(emulator: EmulatorClient, sidecar: Sidecar) -> None:
    chance = random.Random(5)
    lines = [base64.b64encode(chance.randbytes(57)) for _ in range(26 * 2**20 // 78)]
    body = b"Subject: large\r\n\r\n" + b"\r\n".join(lines) + b"\r\n"
    with Wire(sidecar.port) as app:
        app.begin()
        assert app.deliver(body).startswith("250")
    (message,) = emulator.messages()
    assert base64.b64decode(message["content"]).endswith(body)
