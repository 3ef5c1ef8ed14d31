"""The CRD, the typed spec, and what users read say the same."""

import re
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from o365mailer_contract import names, quantities, settings
from o365mailer_operator.controller.conditions import REASONS
from o365mailer_operator.controller.mailer import Condition, Status
from o365mailer_operator.controller.metrics import Metrics as ControllerMetrics
from o365mailer_operator.controller.queue import DueQueue
from o365mailer_operator.token import spec as typed
from o365mailer_operator.webhook.metrics import Metrics as WebhookMetrics

ROOT = Path(__file__).parents[2]
CRD = yaml.safe_load((ROOT / "crds" / "o365mailers.yaml").read_text())
SCHEMA = CRD["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]


def struct_in(annotation: Any) -> type[msgspec.Struct] | None:
    """The struct in `X`, `X | None`, `tuple[X, ...]` or an annotated form of them."""
    for candidate in (annotation, *typing.get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, msgspec.Struct):
            return candidate
        if candidate is not annotation and (found := struct_in(candidate)):
            return found
    return None


def typed_paths(struct: type[msgspec.Struct], path: str) -> Iterator[str]:
    """The paths of all members of a struct, a list's items included in it."""
    for field in msgspec.structs.fields(struct):
        yield f"{path}.{field.encode_name}"
        if inner := struct_in(field.type):
            yield from typed_paths(inner, f"{path}.{field.encode_name}")


def schema_paths(schema: Any, path: str) -> Iterator[str]:
    """The same of an OpenAPI schema."""
    for name, member in (schema.get("items", schema)).get("properties", {}).items():
        yield f"{path}.{name}"
        yield from schema_paths(member, f"{path}.{name}")


def at(path: str) -> Any:
    """The schema of a spec's member."""
    schema = SCHEMA["spec"]
    for name in path.split("."):
        schema = schema.get("items", schema)["properties"][name]
    return schema


@pytest.mark.promise("wrong-mailer-refused")
def test_the_crd_has_the_members_that_the_controller_reads_and_no_others() -> None:
    assert set(schema_paths(SCHEMA["spec"], "spec")) == set(typed_paths(typed.Spec, "spec"))


@pytest.mark.promise("wrong-mailer-refused")
def test_the_crd_has_the_status_that_the_controller_writes() -> None:
    written = set(typed_paths(Status, "status"))
    assert set(schema_paths(SCHEMA["status"], "status")) == written
    assert {path.removeprefix("status.conditions.") for path in written} >= set(Condition.__struct_encode_fields__)


@pytest.mark.promise("wrong-mailer-refused")
@pytest.mark.parametrize(
    ("path", "pattern"),
    [
        ("tenantId", typed.TENANT_PATTERN),
        ("clientId", typed.CLIENT_ID_PATTERN),
        ("mailbox", settings.MAILBOX_PATTERN),
        ("authority.url", typed.AUTHORITY_PATTERN),
        ("submission.host", typed.HOST_PATTERN),
        ("authority.ca.secretRef.name", typed.SECRET_NAME_PATTERN),
        ("submission.ca.secretRef.key", typed.SECRET_KEY_PATTERN),
        ("authority.ca.configMapRef.name", typed.SECRET_NAME_PATTERN),
        ("submission.ca.configMapRef.key", typed.SECRET_KEY_PATTERN),
        ("credential.certificate.secretRef.name", typed.SECRET_NAME_PATTERN),
        ("credential.clientSecret.secretRefs.key", typed.SECRET_KEY_PATTERN),
        ("recipients.redirectTo", settings.MAILBOX_PATTERN),
        ("limits.messageSize", quantities.SIZE_PATTERN),
        ("delivery.confirmWithin", quantities.DURATION_PATTERN),
        ("delivery.notify", settings.NOTIFY_PATTERN),
        ("delivery.spool.maxAge", quantities.DURATION_PATTERN),
        ("delivery.spool.maxSize", quantities.SIZE_PATTERN),
        ("delivery.spool.keepDead", quantities.DURATION_PATTERN),
    ],
)
def test_the_crd_and_the_controller_take_the_same_texts(path: str, pattern: str) -> None:
    [rule] = at(path)["x-kubernetes-validations"]
    match = re.fullmatch(r"self\.matches\('(.*)'\)", rule["rule"])
    assert match is not None
    assert match[1].replace("\\\\", "\\") == pattern  # CEL's text escapes the backslash


@pytest.mark.promise("wrong-mailer-refused")
@pytest.mark.parametrize(
    ("path", "pattern"),
    [("senders.allowed", settings.SENDER_PATTERN), ("recipients.allowedDomains", settings.DOMAIN_PATTERN)],
)
def test_the_crd_and_the_controller_take_the_same_texts_in_a_list(path: str, pattern: str) -> None:
    [rule] = at(path)["items"]["x-kubernetes-validations"]
    assert rule["rule"].replace("\\\\", "\\") == f"self.matches('{pattern}')"


@pytest.mark.promise("wrong-mailer-refused")
@pytest.mark.parametrize(
    ("path", "literal"),
    [
        ("cloud", typed.CloudName),
        ("logLevel", typed.LogLevel),
        ("senders.onMismatch", settings.Senders.__annotations__["on_mismatch"]),
        ("senders.nullReversePath", settings.Senders.__annotations__["null_reverse_path"]),
        ("delivery.lineEndings", settings.Delivery.__annotations__["line_endings"]),
    ],
)
def test_the_crd_and_the_controller_take_the_same_words(path: str, literal: Any) -> None:
    assert at(path)["enum"] == list(typing.get_args(literal))


@pytest.mark.promise("wrong-mailer-refused")
def test_every_rule_of_the_crd_says_the_fix() -> None:
    def rules(schema: Any) -> Iterator[Any]:
        yield from schema.get("x-kubernetes-validations", [])
        for member in schema.get("properties", {}).values():
            yield from rules(member.get("items", member))

    found = list(rules(SCHEMA["spec"]))
    assert len(found) > 10
    assert [rule["message"] for rule in found if "must" not in rule["message"]] == []


@pytest.mark.promise("wrong-mailer-refused")
def test_every_member_of_the_crd_is_described() -> None:
    def silent(schema: Any, path: str) -> Iterator[str]:
        for name, member in schema.get("items", schema).get("properties", {}).items():
            if "description" not in member and not path.startswith("status.conditions"):
                yield f"{path}.{name}"
            yield from silent(member, f"{path}.{name}")

    assert [path for part in ("spec", "status") for path in silent(SCHEMA[part], part)] == []


def test_the_crd_has_the_names_of_the_contract() -> None:
    spec = CRD["spec"]
    assert (spec["group"], spec["versions"][0]["name"]) == (names.GROUP, names.VERSION)
    assert (spec["names"]["kind"], spec["names"]["plural"]) == (names.KIND, names.PLURAL)


@pytest.mark.promise("mailer-says-what-is-wrong")
def test_every_reason_has_an_entry_in_troubleshooting() -> None:
    text = (ROOT / "docs" / "troubleshooting.md").read_text()
    sections = re.split(r"^## ", text, flags=re.MULTILINE)
    others = ("The installation\n", "Alerts\n", "The login at Exchange\n")
    reasons = [each for each in sections if not each.startswith(others)]
    assert len(reasons) == len(sections) - len(others)
    headings = re.findall(r"^### (.+)$", "".join(reasons), re.MULTILINE)
    explained = [reason for heading in headings for reason in heading.split(", ")]
    assert set(explained) == REASONS
    assert len(explained) == len(set(explained))


def test_kubectl_explain_has_a_sentence_for_every_field() -> None:
    def silent(schema: Any, path: str) -> Iterator[str]:
        for name, member in {**schema.get("properties", {}), **schema.get("items", {}).get("properties", {})}.items():
            if not member.get("description", "").endswith((".", "mailer.md")):
                yield f"{path}.{name}"
            yield from silent(member, f"{path}.{name}")

    assert [path for part in ("spec", "status") for path in silent(SCHEMA[part], part)] == []


def test_every_member_of_the_spec_is_in_the_reference() -> None:
    text = (ROOT / "docs" / "mailer.md").read_text()
    rows = re.findall(r"^\| `([A-Za-z.]+)`", text, re.MULTILINE)
    leaves = {
        path.removeprefix("spec.") for path in schema_paths(SCHEMA["spec"], "spec") if "properties" not in at(path[5:])
    }
    grouped = {re.sub(r"^(.*(?:ca|secretRefs))\..*", r"\1", path) for path in leaves}
    assert grouped - set(rows) == set()
    top_level = {
        path.removeprefix("status.") for path in schema_paths(SCHEMA["status"], "status") if path.count(".") == 1
    }
    assert top_level - set(rows) == set()


CONTROLLER = ControllerMetrics(DueQueue(clock=float), leading=lambda: True, agreed_at=float)


@pytest.mark.parametrize(
    ("page", "exposed"),
    [("mailer.md", CONTROLLER.exposition), ("injection.md", WebhookMetrics().text)],
    ids=["controller", "webhook"],
)
def test_every_metric_of_a_process_is_in_its_table_and_no_other(page: str, exposed: Callable[[], bytes]) -> None:
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", exposed().decode(), re.MULTILINE))
    counted = {name for name in kinds if name.startswith("o365mailer_") and not name.endswith("_created")}
    section = (ROOT / "docs" / page).read_text().split("## Metrics of the ")[1].split("\n## ")[0]
    assert set(re.findall(r"`(o365mailer_\w+)", section)) == counted
