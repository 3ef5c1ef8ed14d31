"""A replica's server certificate: what it says, and how it is renewed in a live server."""

import asyncio
import datetime
import ipaddress
import os
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID
from support.mounted_directory import MountedDirectory
from webhook.authorities import DAY, now, secret, write_plain

from o365mailer_contract import names
from o365mailer_operator.pki.leaf import UnusableAuthority, read_authority, service_names, sign_leaf
from o365mailer_operator.pki.leaf_keeper import LeafKeeper

SECOND = datetime.timedelta(seconds=1)


class Clock:
    """A wall clock that can be moved."""

    def __init__(self) -> None:
        self.offset = datetime.timedelta()

    def __call__(self) -> datetime.datetime:
        return now() + self.offset


def keeper(
    directory: Path, clock: Callable[[], datetime.datetime] = now, lifetime: datetime.timedelta = DAY
) -> LeafKeeper:
    return LeafKeeper(directory=directory, server_names=["localhost", "127.0.0.1"], lifetime=lifetime, clock=clock)


def serial(kept: LeafKeeper) -> int:
    assert kept.leaf is not None
    return kept.leaf.pair.serial


def test_the_leaf_has_every_name_of_the_service(tmp_path: Path) -> None:
    write_plain(tmp_path, secret())
    leaf = sign_leaf(
        read_authority(tmp_path), server_names=service_names("hook", "mail", ["::1"]), now=now(), lifetime=DAY
    )
    certificate = leaf.pair.certificate
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert found.get_values_for_type(x509.DNSName) == [
        "hook",
        "hook.mail",
        "hook.mail.svc",
        "hook.mail.svc.cluster.local",
    ]
    assert found.get_values_for_type(x509.IPAddress) == [ipaddress.ip_address("::1")]
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.SERVER_AUTH]
    key = certificate.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert key.curve.name == "secp256r1"


@pytest.mark.promise("webhook-certificates-renewed")
def test_a_leaf_never_outlives_its_authority(tmp_path: Path) -> None:
    write_plain(tmp_path, secret(lifetime=60 * SECOND))
    authority = read_authority(tmp_path)
    leaf = sign_leaf(authority, server_names=["a"], now=now(), lifetime=DAY)
    assert leaf.not_after == authority.certificate.not_valid_after_utc
    with pytest.raises(UnusableAuthority, match=r"the authority expired at .*: is the controller running\?"):
        sign_leaf(authority, server_names=["a"], now=now() + 61 * SECOND, lifetime=DAY)


def test_certificate_and_key_are_read_from_the_same_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """kubelet swaps the volume between the two reads: both still come from the files that were there at first."""
    mount = MountedDirectory(tmp_path)
    mount.swap_secret(secret())
    before = read_authority(tmp_path)
    opened = os.open
    swaps: list[str] = []

    def swap_before_the_key(path: str, *arguments: int, **options: int) -> int:
        if path == names.CA_SECRET_KEY:
            mount.swap_secret(secret())
            swaps.append(path)
        return opened(path, *arguments, **options)

    monkeypatch.setattr(os, "open", swap_before_the_key)
    assert read_authority(tmp_path).serial == before.serial
    monkeypatch.undo()
    assert swaps == ["tls.key"]
    assert read_authority(tmp_path).serial != before.serial


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda directory: (directory / "tls.key").unlink(), "tls.key: No such file"),
        (lambda directory: (directory / "tls.crt").write_text("no"), "is not PEM"),
        (lambda directory: (directory / "tls.key").write_text(""), "is not PEM"),
        (
            lambda directory: write_plain(directory, {"tls.key": secret()["tls.key"]}),
            "is not the key of tls.crt: delete",
        ),
        (lambda directory: _fifo(directory / "tls.crt"), "tls.crt is not a file"),
    ],
    ids=["missing", "not PEM", "empty", "another one's key", "a pipe"],
)
def test_a_directory_that_cannot_be_signed_with_says_why(
    tmp_path: Path, damage: Callable[[Path], object], message: str
) -> None:
    write_plain(tmp_path, secret())
    read_authority(tmp_path)
    damage(tmp_path)
    with pytest.raises(UnusableAuthority, match=message):
        read_authority(tmp_path)


def _fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def test_a_missing_directory_asks_whether_the_secret_is_mounted(tmp_path: Path) -> None:
    with pytest.raises(UnusableAuthority, match="is Secret o365mailer-webhook-ca mounted there"):
        read_authority(tmp_path / "none")


def test_a_leaf_is_renewed_after_two_thirds_of_its_life(tmp_path: Path) -> None:
    write_plain(tmp_path, secret())
    clock = Clock()
    kept = keeper(tmp_path, clock, 90 * SECOND)
    kept.check()
    first = serial(kept)
    clock.offset = 59 * SECOND
    kept.check()
    assert serial(kept) == first
    clock.offset = 61 * SECOND
    kept.check()
    assert serial(kept) != first


def test_a_renewal_that_was_slept_through_is_made_at_the_next_look(tmp_path: Path) -> None:
    write_plain(tmp_path, secret())
    clock = Clock()
    kept = keeper(tmp_path, clock, 90 * SECOND)
    kept.check()
    clock.offset = 3600 * SECOND
    assert not kept.valid
    kept.check()
    assert kept.valid


def test_a_clock_that_was_set_back_gets_a_leaf_of_its_own_time(tmp_path: Path) -> None:
    write_plain(tmp_path, secret())
    clock = Clock()
    kept = keeper(tmp_path, clock)
    clock.offset = 7200 * SECOND
    kept.check()
    first = serial(kept)
    clock.offset = datetime.timedelta()
    kept.check()
    assert serial(kept) != first


def test_another_authority_in_the_directory_signs_at_once(tmp_path: Path) -> None:
    mount = MountedDirectory(tmp_path)
    mount.swap_secret(secret())
    kept = keeper(tmp_path)
    kept.check()
    first = serial(kept)
    mount.swap_secret(secret())
    kept.check()
    assert serial(kept) != first
    assert kept.leaf is not None
    assert kept.leaf.issuer == read_authority(tmp_path).serial


def test_a_damaged_directory_leaves_the_leaf_in_use_and_is_logged_once_a_minute(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_plain(tmp_path, secret())
    clock = Clock()
    kept = keeper(tmp_path, clock)
    kept.check()
    first = serial(kept)
    (tmp_path / "tls.crt").unlink()
    for moment in (1, 2, 59, 62):
        clock.offset = moment * SECOND
        kept.check()
    assert (serial(kept), kept.valid) == (first, True)
    assert [record.message for record in caplog.records].count("no leaf can be signed") == 2


@asynccontextmanager
async def tls_server(context: ssl.SSLContext) -> AsyncIterator[int]:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(line)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def connected(port: int, authority: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, int]:
    """A verified connection, and the serial of the certificate it was shown."""
    context = ssl.create_default_context(cadata=authority.decode())
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")
    der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    return reader, writer, x509.load_der_x509_certificate(der).serial_number


@pytest.mark.promise("webhook-certificates-renewed")
async def test_a_renewed_leaf_is_shown_to_the_next_connection_and_the_open_one_goes_on(tmp_path: Path) -> None:
    write_plain(tmp_path, secret())
    clock = Clock()
    kept = keeper(tmp_path, clock, 360 * SECOND)
    kept.check()
    ca = (tmp_path / "ca.crt").read_bytes()
    async with tls_server(kept.context) as port:
        reader, writer, shown = await connected(port, ca)
        assert shown == serial(kept)
        clock.offset = 250 * SECOND  # past two thirds, and within what a leaf is backdated
        kept.check()
        _, second, shown_next = await connected(port, ca)
        assert shown_next == serial(kept) != shown
        writer.write(b"still here\n")
        assert await reader.readline() == b"still here\n"
        for each in (writer, second):
            each.close()


def test_the_key_is_on_no_disk(tmp_path: Path) -> None:
    write_plain(tmp_path / "ca", secret())
    before = open_files()
    keeper(tmp_path / "ca").check()
    assert [path.name for path in tmp_path.iterdir()] == ["ca"]
    assert open_files() == before


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())
