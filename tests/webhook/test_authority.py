"""How one authority follows another."""

import base64
import datetime
import random
from dataclasses import dataclass, field

import pytest
from cryptography import x509
from hypothesis import example, given, settings
from hypothesis import strategies as st

from o365mailer_contract import names
from o365mailer_operator.pki import authority
from o365mailer_operator.pki.authority import Authorities, Pair
from o365mailer_operator.pki.leaf import Leaf, sign_leaf

START = datetime.datetime(2026, 11, 23, 12, 0, tzinfo=datetime.UTC)
MINUTE = datetime.timedelta(minutes=1)
LIFETIME = 90 * MINUTE


def advanced(
    present: Authorities | None, minutes: float, *, published: bool = False, trusted: tuple[x509.Certificate, ...] = ()
) -> Authorities:
    return authority.advance(
        present, now=START + minutes * MINUTE, lifetime=LIFETIME, published=published, trusted=trusted
    )


@pytest.fixture(scope="module")
def first() -> Authorities:
    return advanced(None, 0)


@pytest.fixture(scope="module")
def with_successor(first: Authorities) -> Authorities:
    return advanced(first, 60)


def test_the_first_authority_signs_and_is_trusted(first: Authorities) -> None:
    assert first.certificates() == (first.signer.certificate,)
    constraints = first.signer.certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (constraints.value.ca, constraints.value.path_length, constraints.critical) == (True, 0, True)
    assert first.signer.certificate.not_valid_after_utc == START + LIFETIME


def test_nothing_changes_before_two_thirds(first: Authorities) -> None:
    assert advanced(first, 59, published=True) == first


@pytest.mark.promise("webhook-certificates-renewed")
def test_a_successor_is_trusted_before_it_signs(first: Authorities, with_successor: Authorities) -> None:
    assert with_successor.signer == first.signer
    assert with_successor.successor is not None
    assert with_successor.certificates() == (first.signer.certificate, with_successor.successor.certificate)
    assert advanced(with_successor, 80, published=False) == with_successor


@pytest.mark.promise("webhook-certificates-renewed")
def test_the_old_certificate_is_trusted_until_it_expires(with_successor: Authorities) -> None:
    promoted = advanced(with_successor, 62, published=True)
    assert promoted.signer == with_successor.successor
    assert promoted.successor is None
    assert promoted.retired == (with_successor.signer.certificate,)
    assert advanced(promoted, 89.9).retired == promoted.retired
    assert advanced(promoted, 90).retired == ()


def test_an_expired_signer_is_replaced_at_once_by_a_new_one(with_successor: Authorities) -> None:
    late = advanced(with_successor, 91)
    assert late.signer not in (with_successor.signer, with_successor.successor)
    assert with_successor.successor is not None
    assert late.retired == (with_successor.successor.certificate,)


def test_a_lost_secret_keeps_what_the_api_server_trusts(first: Authorities) -> None:
    anew = advanced(None, 10, trusted=(first.signer.certificate,))
    assert anew.certificates() == (anew.signer.certificate, first.signer.certificate)


def test_what_is_written_is_read_again(with_successor: Authorities) -> None:
    promoted = advanced(with_successor, 62, published=True)
    for present in (with_successor, promoted):
        read = authority.read(authority.write(present))
        assert read is not None
        assert read.certificates() == present.certificates()
        assert authority.write(read) == authority.write(present)


@pytest.mark.parametrize("name", [names.CA_SECRET_SIGNER, names.CA_SECRET_KEY, names.CA_SECRET_CERTIFICATE])
@pytest.mark.parametrize("content", [None, "", "%%%", base64.b64encode(b"nothing").decode()])
def test_a_damaged_secret_cannot_be_used(first: Authorities, name: str, content: str | None) -> None:
    data = authority.write(first)
    if content is None:
        del data[name]
    else:
        data[name] = content
    assert authority.read(data) is None
    assert authority.read(authority.write(first)) is not None


def test_another_ones_key_cannot_be_used(first: Authorities) -> None:
    other = authority.write(advanced(None, 0))
    assert authority.read({**authority.write(first), names.CA_SECRET_KEY: other[names.CA_SECRET_KEY]}) is None


def test_no_text_shows_a_key(first: Authorities) -> None:
    assert repr(first.signer) == f"Pair({first.signer.certificate.serial_number:x})"


def configuration(*bundles: str | None) -> dict[str, object]:
    return {"webhooks": [{"clientConfig": {} if each is None else {"caBundle": each}} for each in bundles]}


def test_a_bundle_is_carried_only_by_all_webhooks(first: Authorities) -> None:
    text = base64.b64encode(first.bundle()).decode()
    assert authority.carried(configuration(text, text), first.bundle())
    for lacking in (configuration(text, None), configuration(text, ""), configuration(), None):
        assert not authority.carried(lacking, first.bundle())


def test_what_a_configuration_trusts_is_read_as_far_as_it_can_be(first: Authorities) -> None:
    text = base64.b64encode(first.bundle()).decode()
    assert authority.trusted_by(configuration(None, "!", text, text)) == (first.signer.certificate,)
    assert authority.trusted_by(None) == ()


@dataclass
class Replica:
    """A webhook that sees the Secret `delay` minutes late, and renews its leaf as the real one does."""

    delay: int
    leaf: Leaf | None = None
    history: list[Pair] = field(default_factory=list)

    def tick(self, now: datetime.datetime, signer: Pair, lifetime: datetime.timedelta) -> None:
        self.history.append(signer)
        seen = self.history[-1 - self.delay] if len(self.history) > self.delay else self.history[0]
        if self.leaf is None or self.leaf.issuer != seen.serial or now >= self.leaf.renewal():
            self.leaf = sign_leaf(seen, server_names=["svc"], now=now, lifetime=lifetime)


@pytest.mark.promise("webhook-certificates-renewed")
@settings(max_examples=15, deadline=None)
@example(0, [0, 6], 2)
@given(st.integers(0, 2**32), st.lists(st.integers(0, 6), min_size=1, max_size=3), st.integers(0, 2))
def test_whatever_a_late_replica_shows_is_trusted_at_every_minute(seed: int, delays: list[int], lag: int) -> None:
    """Three lives of an authority: replicas up to 6 minutes late, the API server up to 2, publication 3 minutes; the
    bundle is wiped at random and then comes back with the next minute."""
    chance = random.Random(seed)
    replicas = [Replica(delay) for delay in delays]
    present: Authorities | None = None
    carried: list[Authorities] = []
    signers = set()
    for minute in range(270):
        steady = len(carried) > 3 and all(each == present for each in carried[-4:]) and chance.random() > 0.1
        present = advanced(present, minute, published=steady)
        carried.append(present)
        now = START + minute * MINUTE
        signer = present.signer
        signers.add(signer.serial)
        trusted = {each.serial_number for each in carried[max(0, len(carried) - 1 - lag)].certificates()}
        for replica in replicas:
            replica.tick(now, signer, 6 * MINUTE)
            assert replica.leaf is not None
            assert replica.leaf.issuer in trusted
            assert replica.leaf.not_after > now
    assert len(signers) >= 4
