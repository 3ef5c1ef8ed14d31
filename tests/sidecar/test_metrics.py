"""What /metrics shows: read by Prometheus' own parser, and held to the table in the docs."""

import ast
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client import Histogram as Reference
from prometheus_client.parser import text_string_to_metric_families
from support.emulator_client import EmulatorClient
from support.sidecar_process import MailerDirectory, Sidecar, Wire, running
from support.spooling import spooling

from o365mailer_contract.names import RELEASE
from o365mailer_sidecar.telemetry.metrics import METRICS, PREFIX, Metrics, labels

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "sidecar" / "o365mailer_sidecar"

NAMES = {metric.name for metric in METRICS}

FEEDS = re.compile(r"metrics\.(count|observe|watch)$|^watch$")

WORD = re.compile(r"[a-z0-9_.-]+")
"""What a label's value is: a word of ours or a version, never a text from outside."""


def samples(page: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every sample of a page, by name and labels."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


def send(sidecar: Sidecar, content: bytes = b"Subject: x\r\n\r\nbody\r\n") -> str:
    """One message, and its final reply."""
    with Wire(sidecar.port) as app:
        app.begin()
        return app.deliver(content)


@pytest.mark.promise("audit-and-metrics")
def test_prometheus_reads_every_family_as_the_table_has_it(
    emulator: EmulatorClient, directory: MailerDirectory, tmp_path: Path
) -> None:
    directory.write_for(emulator)
    with spooling(directory, tmp_path) as sidecar:
        assert send(sidecar).startswith("250 ")
        emulator.script("body", reply="554 5.6.0 refused")
        assert send(sidecar).startswith("554 ")
        page = sidecar.get("/metrics")[1]
    families = {family.name: family for family in text_string_to_metric_families(page)}
    for metric in METRICS:
        family = families[PREFIX + metric.name.removesuffix("_total")]
        assert (family.type, family.documentation) == (metric.kind, metric.text)
        for sample in family.samples:
            closed = {name: value for name, value in sample.labels.items() if name != "le"}
            assert set(closed) <= set(metric.labels)
            assert all(WORD.fullmatch(value) for value in closed.values())
    assert {name.removeprefix(PREFIX) for name in families} <= {name.removesuffix("_total") for name in NAMES}


@pytest.mark.promise("audit-and-metrics")
def test_a_mail_is_seen_in_the_metrics(emulator: EmulatorClient, directory: MailerDirectory) -> None:
    end = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1, seconds=7)
    directory.write_for(emulator, revision=12, expiresAt=end.isoformat())
    with running(directory.path) as sidecar:
        assert send(sidecar).startswith("250 ")
        seen = samples(sidecar.get("/metrics")[1])
    assert seen[PREFIX + "auth_total", (("result", "accepted"),)] == 1
    assert seen[PREFIX + "upstream_connections_total", (("result", "opened"),)] == 1
    assert seen[PREFIX + "settings_revision", ()] == 12
    assert seen[PREFIX + "relay_info", (("version", RELEASE),)] == 1
    assert seen[PREFIX + "token_expires_timestamp_seconds", ()] == end.timestamp(), "to the second"
    assert seen[PREFIX + "message_bytes_total", ()] == 20
    assert seen[PREFIX + "upstream_up", ()] == 1


@pytest.mark.promise("audit-and-metrics")
@pytest.mark.parametrize(
    ("rule", "result"),
    [({"reply": "535 5.7.3 Authentication unsuccessful"}, "refused"),
     ({"reply": "451 4.7.0 Temporary server error"}, "failed"),
     ({"close": True}, "failed")],
)  # fmt: skip
def test_an_auth_that_is_not_taken_is_counted(
    emulator: EmulatorClient, sidecar: Sidecar, rule: dict[str, object], result: str
) -> None:
    emulator.script("auth", **rule)
    assert send(sidecar).startswith("451 ")
    assert sidecar.metric(f'o365mailer_auth_total{{result="{result}"}}') == 1
    assert sidecar.metric("o365mailer_upstream_up") == (result == "refused")
    blocked = 'o365mailer_blocked{outcome="unauthorized",reason="token-refused"} 1'
    assert (blocked in sidecar.get("/metrics")[1]) == (result == "refused")


def test_a_refused_token_is_shown_until_the_relay_has_another(
    emulator: EmulatorClient, directory: MailerDirectory
) -> None:
    blocked = 'o365mailer_blocked{outcome="unauthorized",reason="token-refused"} 1'
    emulator.script("auth", reply="535 5.7.3 Authentication unsuccessful")
    directory.write_for(emulator)
    with running(directory.path) as sidecar:
        assert send(sidecar).startswith("451 ")
        assert blocked in sidecar.get("/metrics")[1]
        directory.write_for(emulator, revision=2)
        assert send(sidecar).startswith("250 ")
        assert blocked not in sidecar.get("/metrics")[1]


def test_before_the_first_settings_there_is_a_page_all_the_same(directory: MailerDirectory) -> None:
    with running(directory.path) as sidecar:
        seen = samples(sidecar.get("/metrics")[1])
    assert seen[PREFIX + "settings_revision", ()] == 0
    assert seen[PREFIX + "message_seconds_count", ()] == 0


@given(st.lists(st.floats(min_value=0, max_value=1e6)))
def test_a_histogram_is_what_the_reference_library_makes_of_it(values: list[float]) -> None:
    registry, metrics = CollectorRegistry(), Metrics()
    metric = next(metric for metric in METRICS if metric.name == "message_seconds")
    reference = Reference(PREFIX + metric.name, metric.text, buckets=metric.buckets, registry=registry)
    for value in values:
        reference.observe(value)
        metrics.observe("message_seconds", value)
    theirs = {
        key: value for key, value in samples(generate_latest(registry).decode()).items() if "created" not in key[0]
    }
    ours = {key: value for key, value in samples(metrics.page()).items() if key in theirs}
    assert ours == pytest.approx(theirs)
    assert len(theirs) == len(metric.buckets) + 3


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
def test_any_label_and_any_number_come_back_as_they_were(text: str) -> None:
    metrics = Metrics()
    metrics.watch("blocked", lambda: {labels(reason=text): 1.5, labels(reason=text + "x"): float("inf")})
    seen = samples(metrics.page())
    assert seen[PREFIX + "blocked", (("reason", text),)] == 1.5
    assert seen[PREFIX + "blocked", (("reason", text + "x"),)] == float("inf")


@pytest.mark.promise("audit-and-metrics")
def test_the_documents_table_is_the_codes() -> None:
    rows = [
        f"| `{PREFIX}{metric.name}{'{' + ','.join(metric.labels) + '}' if metric.labels else ''}` "
        f"| {metric.kind} | {metric.text} |"
        for metric in METRICS
    ]
    lines = (ROOT / "docs" / "sidecar.md").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line.startswith(f"| `{PREFIX}")] == rows


def test_the_code_feeds_what_is_declared_and_nothing_else() -> None:
    fed = set()
    for path in SOURCES.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(func=function, args=[ast.Constant(value=str(name)), *_]) if FEEDS.search(
                    ast.unparse(function)
                ):
                    fed.add(name)
    assert fed == NAMES
