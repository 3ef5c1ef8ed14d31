"""The reasons are a closed vocabulary, drawn in one tree."""

import re

from o365mailer_operator.token import errors
from o365mailer_operator.token.aadsts import CODES
from o365mailer_operator.token.errors import REASONS, EntraRefused, TokenError


def every(kind: type[TokenError]) -> set[type[TokenError]]:
    return {kind}.union(*(every(child) for child in kind.__subclasses__()))


def test_every_error_stands_in_the_drawn_tree() -> None:
    drawn = set(re.findall(r"[├└]── (\w+)", errors.__doc__ or ""))

    assert drawn == {kind.__name__ for kind in every(TokenError)} - {"TokenError"}


def test_every_reason_is_a_word_that_kubernetes_takes_as_a_conditions_reason() -> None:
    assert "AADSTS7000222" in REASONS
    assert "SecretNotFound" in REASONS
    assert "TokenError" not in REASONS
    assert all(re.fullmatch(r"[A-Z][A-Za-z0-9]*", reason) for reason in REASONS)


def test_every_code_has_a_cause_and_a_remedy_in_sentences() -> None:
    for code in CODES.values():
        assert code.cause
        assert not code.cause.endswith(".")
        assert code.remedy.endswith((".", "Secret."))


def test_every_refusals_reason_is_in_the_vocabulary() -> None:
    numbers = [*CODES, 1, None]

    assert all(EntraRefused("x", code=number).reason in REASONS for number in numbers)
