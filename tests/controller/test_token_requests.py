"""Which mailers share a token request and its token, and which must not. With the emulator as Entra."""

import asyncio
import datetime
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from support.certificate_pair import certificate_pair
from support.emulator_client import EmulatorClient
from support.held import Held

from o365mailer_cli.document import named_hosts
from o365mailer_operator.clock import Clock, utc_now
from o365mailer_operator.controller.cluster import Cluster
from o365mailer_operator.controller.context import Context
from o365mailer_operator.controller.decision import Aim, Mint
from o365mailer_operator.controller.lease import Lease, NotLeading
from o365mailer_operator.controller.mailer import Key
from o365mailer_operator.controller.metrics import Metrics
from o365mailer_operator.controller.options import parse
from o365mailer_operator.controller.queue import DueQueue
from o365mailer_operator.controller.token_requests import TokenRequests
from o365mailer_operator.token.bearer import Token
from o365mailer_operator.token.errors import TokenError
from o365mailer_operator.token.grant import grant_of, token_identity
from o365mailer_operator.token.spec import decode_spec

pytestmark = pytest.mark.promise("mailers-are-independent")


class Requested:
    """The token requests of mailers of one application."""

    def __init__(self, emulator: EmulatorClient) -> None:
        self.emulator = emulator
        self.later = datetime.timedelta(0)
        self.leading = True
        self.ended = asyncio.Event()
        context = Context(
            options=parse([], {}),
            cluster=cast("Cluster", None),
            lease=cast("Lease", SimpleNamespace(check=self.check)),
            metrics=Metrics(DueQueue(clock=float), leading=lambda: True, agreed_at=float),
            clock=Clock(now=lambda: utc_now() + self.later),
        )
        self.requests = TokenRequests(context, due=lambda _: self.ended.set())

    def check(self) -> None:
        """What the Lease does."""
        if not self.leading:
            raise NotLeading

    def step(self, *, asked: bool = False, secrets: Mapping[str, str] | None = None, ca: str = "") -> Mint:
        """A mailer's need of a token. `secrets`: the content of each Secret that it names, in their order."""
        named = secrets or {"entra": self.emulator.client_secret}
        refs = [{"name": name, "key": "secret"} for name in named]
        authority = {"url": self.emulator.authority, "ca": {"secretRef": {"name": "authority"}}}
        spec = decode_spec(
            {
                "tenantId": self.emulator.tenant,
                "clientId": self.emulator.client_id,
                "mailbox": self.emulator.mailbox,
                "credential": {"clientSecret": {"secretRefs": refs}},
                "authority": authority,
            }
        )
        content: dict[str, Any] = {name: {"secret": value.encode()} for name, value in named.items()}
        content["authority"] = {"ca.crt": (ca or Path(self.emulator.ca_file).read_text()).encode()}
        grant = grant_of(spec, Held(content), allowed=named_hosts(spec.endpoints))
        aim = Aim(
            identity=token_identity(spec),
            credential=grant.credential,
            authorities=grant.authorities,
            refresh_request="now" if asked else "",
            key=b"the UID of the Secret",
        )
        return Mint(spec, grant, aim, asked=asked)

    async def result(self, name: str, step: Mint) -> Token | TokenError:
        """What the request of a mailer brings."""
        key = Key("app", name)
        self.requests.start(key, step)
        while (found := self.requests.errands.find(key)) is None or found.result is None:
            self.ended.clear()
            await self.ended.wait()
        return found.result

    async def token(self, name: str, step: Mint) -> Token:
        """The same, of a request that succeeds."""
        result = await self.result(name, step)
        assert isinstance(result, Token), result
        return result

    def sent(self) -> int:
        """Token requests that Entra got."""
        return int(self.emulator.counters()["requests"].get("token", 0))


@pytest.fixture
async def requested(emulator: EmulatorClient) -> Requested:
    """No request yet."""
    return Requested(emulator)


async def test_mailers_of_one_credential_share_the_request_that_is_under_way_and_its_token_for_a_minute(
    requested: Requested, emulator: EmulatorClient
) -> None:
    emulator.script("token", delay=0.5)
    both = await asyncio.gather(*(requested.token(name, requested.step()) for name in "ab"))
    assert both[0] is both[1]
    assert await requested.token("c", requested.step()) is both[0]
    copy = await requested.token("d", requested.step(secrets={"copy": emulator.client_secret}))
    assert (copy.value, copy.credential_ref) == (both[0].value, "the Secret copy/secret")
    assert requested.sent() == 1
    requested.later = datetime.timedelta(seconds=61)
    assert (await requested.token("e", requested.step())).value != both[0].value


async def test_a_mailer_with_another_credential_gets_no_token_of_others(
    requested: Requested, emulator: EmulatorClient
) -> None:
    await requested.token("right", requested.step())
    wrong = await requested.result("wrong", requested.step(secrets={"entra": "wrong-not-a-secret"}))
    assert isinstance(wrong, TokenError)
    assert wrong.reason == "AADSTS7000215"
    # With a wrong one and the right one, another Secret may get the token, and the mailer is told which.
    two = {"old": "wrong-not-a-secret", "new": emulator.client_secret}
    token = await requested.token("rotating", requested.step(secrets=two))
    assert [refusal.ref for refusal in token.refusals] == ["old/secret"]


async def test_a_mailer_that_trusts_another_authority_gets_no_token_of_others(requested: Requested) -> None:
    await requested.token("right", requested.step())
    other, _ = certificate_pair(datetime.timedelta(days=1))
    refused = await requested.result("wrong", requested.step(ca=other))
    assert isinstance(refused, TokenError)
    assert refused.reason == "EntraNotTrusted"


async def test_a_refresh_that_a_person_asks_for_is_a_request_of_its_own_one_at_a_time(
    requested: Requested, emulator: EmulatorClient
) -> None:
    first = await requested.token("a", requested.step())
    emulator.script("token", delay=0.5, times=None)
    asked = [asyncio.create_task(requested.token(name, requested.step(asked=True))) for name in "ab"]
    await asyncio.sleep(0)
    assert requested.requests.errands.running == 1
    tokens = [await asked[0]]
    # The second is called when the first has ended; its next reconcile starts it.
    requested.requests.start(Key("app", "b"), requested.step(asked=True))
    tokens.append(await asked[1])
    assert len({first.value, *(token.value for token in tokens)}) == 3
    assert requested.sent() == 3


async def test_no_request_begins_and_no_token_is_shared_without_the_lease(requested: Requested) -> None:
    await requested.token("a", requested.step())
    requested.leading = False
    requested.ended.clear()
    requested.requests.start(Key("app", "b"), requested.step())
    await requested.ended.wait()
    assert requested.requests.errands.find(Key("app", "b")) is None
    assert requested.sent() == 1


async def test_a_token_that_lives_for_seconds_is_shared_for_less_than_it_takes_to_be_due(
    requested: Requested, emulator: EmulatorClient
) -> None:
    emulator.settings(tokenLifetime=40)
    first = await requested.token("a", requested.step())
    requested.later = datetime.timedelta(seconds=9)
    assert (await requested.token("b", requested.step())).value == first.value
    requested.later = datetime.timedelta(seconds=11)
    assert (await requested.token("a", requested.step())).value != first.value
