"""A document from a file is read strictly, because no API server has validated it."""

from typing import Any

import pytest

from o365mailer_cli.document import decode_document
from o365mailer_operator.token.errors import InvalidSpec


def spec_of(**members: Any) -> dict[str, Any]:
    """A complete, valid spec as JSON would hold it, with members replaced."""
    return {
        "tenantId": "11111111-1111-4111-8111-111111111111",
        "clientId": "22222222-2222-4222-8222-222222222222",
        "mailbox": "noreply@contoso.com",
        "credential": {"clientSecret": {"secretRefs": [{"name": "noreply", "key": "secret"}]}},
        **members,
    }


def document_of(content: dict[str, Any], **members: Any) -> dict[str, Any]:
    return {
        "apiVersion": "o365mailer.dev/v1alpha1",
        "kind": "O365Mailer",
        "metadata": {"name": "noreply", "namespace": "web"},
        "spec": content,
        **members,
    }


def test_a_whole_document_is_a_named_mailer() -> None:
    mailer = decode_document(document_of(spec_of()))

    assert (mailer.name, mailer.namespace) == ("noreply", "web")
    assert mailer.spec.mailbox == "noreply@contoso.com"


def test_what_kubectl_get_prints_can_be_run() -> None:
    metadata = {"name": "noreply", "resourceVersion": "7", "annotations": {"a": "b"}}

    assert decode_document(document_of(spec_of(), metadata=metadata, status={"tokenRevision": 3})).namespace is None


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "another version": (
        {"apiVersion": "o365mailer.dev/v9"},
        "apiVersion: expected o365mailer.dev/v1alpha1, got 'o365mailer.dev/v9'.",
    ),
    "another kind": ({"kind": "Deployment"}, "kind: expected O365Mailer, got 'Deployment'."),
    "no metadata": ({"metadata": None}, "metadata: expected an object with a name."),
    "a name that no pod could use": (
        {"metadata": {"name": "No_Reply"}},
        "metadata.name: expected lower-case letters, digits and hyphens, 40 characters at most.",
    ),
    "a name that is too long": (
        {"metadata": {"name": "n" * 41}},
        "metadata.name: expected lower-case letters, digits and hyphens, 40 characters at most.",
    ),
    "a namespace that is a number": (
        {"metadata": {"name": "noreply", "namespace": 3}},
        "metadata.namespace: expected a text.",
    ),
    "a spec that is a list": ({"spec": []}, "spec: Expected `object`, got `array`"),
    "a stranger at the top": (
        {"sepc": {}},
        "sepc: there is no such member; spec is near.",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_around_the_spec_is_named(case: str) -> None:
    members, expected = WRONG[case]

    with pytest.raises(InvalidSpec) as caught:
        decode_document(document_of(spec_of(), **members))

    assert str(caught.value) == expected


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"mailBox": "x@y.z"}, "spec.mailBox: there is no such member; mailbox is near."),
        (
            {"limits": {"conections": 2}},
            "spec.limits.conections: there is no such member; connections is near.",
        ),
        (
            {"credential": {"clientSecret": {"secretRefs": [{"name": "a", "key": "b", "optional": True}]}}},
            "spec.credential.clientSecret.secretRefs[0].optional: there is no such member; there are name, key.",
        ),
        (
            {"credential": {"workloadIdentity": {"serviceAccountName": "x"}}},
            "spec.credential.workloadIdentity.serviceAccountName: there is no such member; serviceAccountRef is near.",
        ),
        (
            {"credential": {"password": {"name": "x"}}},
            "spec.credential.password: there is no such member; there are clientSecret, certificate, workloadIdentity.",
        ),
    ],
)
def test_an_unknown_member_is_refused_with_the_nearest_known_one(members: dict[str, Any], expected: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        decode_document(document_of(spec_of(**members)))

    assert str(caught.value) == expected


@pytest.mark.parametrize(
    ("document", "found"), [(None, "nothing"), ([1], "a list"), ("text", "a str")], ids=["nothing", "list", "text"]
)
def test_something_that_is_no_object_is_refused(document: Any, found: str) -> None:
    with pytest.raises(InvalidSpec, match=f"^the document: expected one O365Mailer object, got {found}.$"):
        decode_document(document)


def test_a_document_without_spec_says_so() -> None:
    document = document_of(spec_of())
    del document["spec"]

    with pytest.raises(InvalidSpec, match=r"^spec: is missing\.$"):
        decode_document(document)


@pytest.mark.parametrize(
    ("members", "path"),
    [
        ({"mailbox": "noreply@contoso.com\n"}, "spec.mailbox"),
        ({"tenantId": "contoso.com\n"}, "spec.tenantId"),
        ({"submission": {"host": "smtp.office365.com\n"}}, "spec.submission.host"),
        (
            {"credential": {"clientSecret": {"secretRefs": [{"name": "noreply\n", "key": "secret"}]}}},
            "spec.credential.clientSecret.secretRefs[0].name",
        ),
    ],
)
def test_a_line_break_is_told_where_it_is(members: dict[str, Any], path: str) -> None:
    decode_document(document_of(spec_of()))
    with pytest.raises(InvalidSpec) as told:
        decode_document(document_of(spec_of(**members)))
    assert str(told.value) == f"{path}: there is a line break in it. Write it on one line, without | or >."
