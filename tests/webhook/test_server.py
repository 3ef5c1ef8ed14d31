"""The process: what it answers over HTTP, when it is ready, how it stops, what it logs."""

import asyncio
import base64
import http.client
import json
import signal
import socket
import ssl
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.waiting import eventually
from webhook.authorities import DAY, now, secret, write_plain
from webhook.examples import Manifest, app, pod, workload
from webhook.process import WebhookProcess

from o365mailer_contract import names
from o365mailer_operator.pki.leaf_keeper import LeafKeeper
from o365mailer_operator.webhook.metrics import Metrics
from o365mailer_operator.webhook.server import Server

CANARY = "canary-not-a-secret-7f3a"
MEBIBYTE = 1 << 20


def review(manifest: Manifest, **request: Any) -> bytes:
    document = {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "c5b1-uid",
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "operation": "CREATE",
            "namespace": "shop",
            "object": manifest,
            **request,
        },
    }
    return json.dumps(document).encode()


class Client:
    """One kept connection to the admission port."""

    def __init__(self, webhook: WebhookProcess, directory: Path) -> None:
        context = ssl.create_default_context(cafile=directory / "ca.crt")
        self.connection = http.client.HTTPSConnection(
            "localhost", webhook.ports["admission"], context=context, timeout=10
        )

    def post(self, path: str, body: bytes) -> tuple[int, Any]:
        """Status, and the document or the text."""
        self.connection.request("POST", path, body, {"Content-Type": "application/json"})
        answer = self.connection.getresponse()
        content = answer.read()
        is_json = answer.headers.get_content_type() == "application/json"
        return answer.status, json.loads(content) if is_json else content.decode()


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ca")
    write_plain(path, secret())
    return path


@pytest.fixture(scope="module")
def webhook(directory: Path) -> Iterator[WebhookProcess]:
    with WebhookProcess(directory, "--log-level=debug") as process:
        process.wait_ready()
        yield process


@pytest.fixture
def client(webhook: WebhookProcess, directory: Path) -> Client:
    return Client(webhook, directory)


def test_a_pod_is_answered_with_a_patch_and_its_uid(client: Client) -> None:
    status, document = client.post("/pods", review(pod()))
    assert status == 200
    assert (document["response"]["uid"], document["response"]["allowed"]) == ("c5b1-uid", True)
    operations = json.loads(base64.b64decode(document["response"]["patch"]))
    assert operations[0]["path"] == "/spec/initContainers"


def test_a_workload_is_answered_with_a_patch(client: Client) -> None:
    body = review(workload("noreply", None), operation="UPDATE", oldObject=workload(None, None))
    _, document = client.post("/workloads", body)
    operations = json.loads(base64.b64decode(document["response"]["patch"]))
    assert operations == [
        {"op": "add", "path": "/spec/template/metadata/annotations", "value": {names.INJECT_ANNOTATION: "noreply"}}
    ]


def test_a_large_review_is_answered_and_one_above_the_limit_is_not(client: Client) -> None:
    large = pod({"example.com/large": "x" * (3 * MEBIBYTE - 4096)})
    assert client.post("/pods", review(large))[0] == 200
    too_large = pod({"example.com/large": "x" * (3 * MEBIBYTE)})
    assert client.post("/pods", review(too_large))[0] == 413


NAMELESS_VOLUME = pod(spec={"containers": [], "volumes": [{}]})


@pytest.mark.parametrize("body", [b"", b"{", b"{}", b"\x00", review(pod(), uid=None), review(NAMELESS_VOLUME)])
def test_what_is_no_review_is_a_bad_request(client: Client, body: bytes) -> None:
    status, text = client.post("/pods", body)
    assert status == 400
    assert text.startswith("not an AdmissionReview v1: ")


def test_other_paths_are_not_there(client: Client, webhook: WebhookProcess) -> None:
    assert client.post("/", review(pod()))[0] == 404
    assert webhook.health("/pods")[0] == 404


def test_metrics_have_the_type_that_every_scraper_reads(webhook: WebhookProcess) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{webhook.ports['health']}/metrics", timeout=5) as answer:
        assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"


def test_requests_results_and_times_are_counted(client: Client, webhook: WebhookProcess) -> None:
    client.post("/pods", review(pod()))
    client.post("/pods", review(pod({names.INJECT_ANNOTATION: ""})))
    client.post("/pods", review({"metadata": {}, "spec": app()}))
    status, text = webhook.health("/metrics")
    assert status == 200
    for line in (
        'o365mailer_webhook_requests_total{path="/pods",result="patched"}',
        'o365mailer_webhook_requests_total{path="/pods",result="denied"}',
        'o365mailer_webhook_requests_total{path="/pods",result="untouched"}',
        'o365mailer_webhook_denials_total{reason="MailerEmpty"}',
        'o365mailer_webhook_seconds_bucket{le="0.001",path="/pods"}',
        'o365mailer_webhook_seconds_bucket{le="10.0",path="/pods"}',
        "o365mailer_webhook_leaf_expiry_timestamp_seconds ",
    ):
        assert line in text


@pytest.mark.promise("secrets-stay-secret")
def test_no_log_line_or_metric_carries_what_is_in_an_object(client: Client, webhook: WebhookProcess) -> None:
    environment = [{"name": "PASSWORD", "value": CANARY}]
    client.post("/pods", review(pod({"example.com/note": CANARY}, spec=app(env=environment))))
    client.post("/pods", review(pod({names.PORTS_ANNOTATION: CANARY})))
    client.post("/pods", review(pod(spec={"containers": [{"name": 7, "image": CANARY}]})))
    client.post("/pods", review(pod(name="planted-where-it-may-be")))
    eventually(lambda: "planted-where-it-may-be" in json.dumps(webhook.log), "the scan finds what is there")
    assert CANARY not in json.dumps(webhook.log)
    assert CANARY not in webhook.health("/metrics")[1]
    assert "PRIVATE KEY" not in json.dumps(webhook.log)


@pytest.mark.promise("neighbours-are-safe")
def test_a_name_of_a_megabyte_is_short_in_the_log(client: Client, webhook: WebhookProcess) -> None:
    """The API server checks names after admission."""
    manifest = pod()
    manifest["metadata"].pop("name", None)
    manifest["metadata"]["generateName"] = "\n" + "x" * MEBIBYTE
    assert client.post("/pods", review(manifest))[0] == 200
    assert eventually(lambda: webhook.logged("patched"), "the log line")[-1]["object"] == "\n" + "x" * 252


def test_it_is_ready_only_with_a_leaf(tmp_path: Path) -> None:
    with WebhookProcess(tmp_path, "--leaf-lifetime=10s") as process:
        eventually(lambda: "health" in process.ports, "the health port")
        assert process.health("/livez")[0] == 200
        assert process.health("/readyz") == (503, "no valid certificate yet\n")
        eventually(lambda: process.logged("no leaf can be signed"), "the log says why")
        assert "tls.crt: No such file or directory" in process.logged("no leaf can be signed")[0]["error"]
        write_plain(tmp_path, secret())
        process.wait_ready()


@pytest.mark.promise("other-pods-never-call")
def test_after_sigterm_it_is_not_ready_serves_on_and_ends_with_0(directory: Path) -> None:
    with WebhookProcess(directory, "--drain=2s") as process:
        process.wait_ready()
        client = Client(process, directory)
        process.process.send_signal(signal.SIGTERM)
        eventually(lambda: process.health("/readyz") == (503, "not serving\n"), "not ready any more")
        assert client.post("/pods", review(pod()))[0] == 200
        assert Client(process, directory).post("/pods", review(pod()))[0] == 200
        assert process.process.wait(timeout=10) == 0


def test_sigterm_before_there_is_a_leaf_ends_it_too(tmp_path: Path) -> None:
    with WebhookProcess(tmp_path) as process:
        eventually(lambda: "health" in process.ports, "the health port")
        assert process.stop() == 0


@pytest.mark.promise("webhook-certificates-renewed")
def test_a_kept_connection_ends_with_the_leaf_it_began_with(directory: Path) -> None:
    with WebhookProcess(directory, "--leaf-lifetime=6s") as process:
        process.wait_ready()
        client = Client(process, directory)
        client.post("/pods", review(pod()))
        first = client.connection.sock
        assert first is not None
        client.post("/pods", review(pod()))
        assert client.connection.sock is first
        eventually(lambda: len(process.logged("leaf signed")) > 1, "the leaf is renewed")
        assert client.post("/pods", review(pod()))[0] == 200
        assert client.connection.sock is None
        assert client.post("/pods", review(pod()))[0] == 200


@pytest.mark.promise("other-pods-never-call")
async def test_an_exception_is_status_500_so_that_the_failure_policy_decides(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_plain(tmp_path, secret())
    keeper = LeafKeeper(directory=tmp_path, server_names=["localhost"], lifetime=DAY, clock=now)
    keeper.check()
    broken: Any = None
    metrics = Metrics()
    server = Server(settings=broken, keeper=keeper, metrics=metrics)
    listener = socket.create_server(("127.0.0.1", 0))
    await server.start_admission(listener)
    context = ssl.create_default_context(cafile=tmp_path / "ca.crt")
    connection = http.client.HTTPSConnection("localhost", listener.getsockname()[1], context=context, timeout=10)

    def ask() -> int:
        connection.request("POST", "/pods", review(pod()))
        return connection.getresponse().status

    assert await asyncio.to_thread(ask) == 500
    assert 'requests_total{path="/pods",result="error"} 1.0' in metrics.text().decode()
    assert any(record.exc_info for record in caplog.records)
    connection.close()
    await server.stop()
