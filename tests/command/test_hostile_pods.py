"""What a person with rights in one namespace writes there can neither end nor forge what an administrator reads."""

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from command.team import Ask, Team, condition
from o365mailer_cli.cluster import POD_LIMIT

READY = "o365mailer_mailer_ready 1\n"
PAGES = {
    "no number": f"{READY}o365mailer_spool_messages NaN\no365mailer_spool_oldest_age_seconds +Inf\n",
    "a format": f'{READY}o365mailer_blocked{{reason="{{x.y}}"}} 1\n',
    "two lines": f'{READY}o365mailer_relay_info{{version="0.1.0\\n\u2028✓ all is well"}} 1\n',
    "a long line": f"{READY}o365mailer_blocked{{{'a' * 1_000_000}}} 1\n",
    "too much": "# \n" * POD_LIMIT,
    "half a character": f'{READY}o365mailer_blocked{{reason="\\ud800"}} 1\n',
}
"""What a pod that calls itself a relay serves as its metrics."""
STATUSES = (
    "[" * 100_000,
    json.dumps({"mailer": "noreply", "ports": 5, "notes": 7, "healthPort": True}),
    json.dumps({"mailer": "a\n✓ all is well", "ports": ["\ud800"], "notes": [{}, "\x9b2J\u202e"], "healthPort": -1}),
)
"""What it has in place of the webhook's annotation."""


@pytest.fixture
def page(own_address: str) -> Iterator[Callable[[str], tuple[str, int]]]:
    """`page(text)` serves the text over HTTP, and returns where."""
    with contextlib.ExitStack() as stack:

        def serve(text: str) -> tuple[str, int]:
            class Handler(BaseHTTPRequestHandler):
                def do_GET(self) -> None:
                    self.send_response(200)
                    self.end_headers()
                    with contextlib.suppress(OSError):
                        self.wfile.write(text.encode())

                def log_message(self, *_: object) -> None:
                    pass

            server = stack.enter_context(ThreadingHTTPServer((own_address, 0), Handler))
            stack.callback(server.shutdown)
            threading.Thread(target=server.serve_forever, daemon=True).start()
            return own_address, server.server_port

        yield serve


def test_metrics_of_a_pod_that_is_no_relay(
    ask: Ask, team: Team, page: Callable[[str], tuple[str, int]], tmp_path: Path
) -> None:
    team.mailer()
    for number, text in enumerate(PAGES.values()):
        team.pod(f"pod-{number}", address=page(text))
    team.pod("well", address=page(f'{READY}o365mailer_relay_info{{version="0.1.0"}} 1\no365mailer_spool_messages 3\n'))
    told = ask("status", "noreply", "-n", team.namespace, "-o", "json")
    (mailer,) = told.json["mailers"]
    relays = {each["pod"]: each for each in mailer["relays"]}
    assert relays["well"]["version"] == "0.1.0"  # the control: what a relay says is shown
    assert mailer["queue"] == {"messages": 3, "oldestSeconds": 0.0, "dead": 0}
    assert relays["pod-1"]["blocked"] == ["?"]
    assert "more than" in relays["pod-4"]["problem"]
    shown = ask("status", "noreply", "-n", team.namespace)
    assert "\n✓" not in shown.out
    assert "\u2028" not in shown.out
    checked = ask("check", "-n", team.namespace, "-o", "json")
    names = [each["name"] for group in checked.json["groups"] for each in group["findings"]]
    assert {"pods.blocked", "pods.metrics"} <= set(names)
    bundle = f"{tmp_path}/bundle.tar.gz"
    assert ask("support-bundle", "-n", team.namespace, "--file", bundle).status == 0


@pytest.mark.parametrize("status", STATUSES, ids=["deep", "other types", "signs"])
def test_an_annotation_that_the_webhook_did_not_write(ask: Ask, team: Team, status: str, tmp_path: Path) -> None:
    team.mailer("noreply", condition("Ready", "False", "EntraRefused", "No.\n✓ all is well\u202e"))
    annotations = {"o365mailer.dev/inject": "noreply", "o365mailer.dev/status": status}
    team.pod("web", annotations=annotations)
    for verb in (("explain", "pod/web"), ("check",), ("status",)):
        shown = ask(*verb, "-n", team.namespace)
        assert shown.status == 1, shown.err
        assert not any(line.startswith("✓ all is well") for line in shown.out.splitlines())
        assert not {"\x9b", "\u202e"} & set(shown.out)
        assert ask(*verb, "-n", team.namespace, "-o", "json").json
    assert ask("support-bundle", "-n", team.namespace, "--file", f"{tmp_path}/bundle.tar.gz").status == 0


def test_a_remedy_to_copy_has_no_command_of_another_person_in_it(ask: Ask, team: Team) -> None:
    """The annotation is on the object alone: no webhook has refused it."""
    selector = {"app": "web"}
    team.kubectl.apply(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "web", "annotations": {"o365mailer.dev/inject": "a; reboot"}},
            "spec": {
                "replicas": 0,
                "selector": {"matchLabels": selector},
                "template": {
                    "metadata": {"labels": selector},
                    "spec": {"containers": [{"name": "app", "image": "app"}]},
                },
            },
        },
        namespace=team.namespace,
    )
    told = ask("explain", "deployment/web", "-n", team.namespace)
    assert "o365mailer.dev/inject='a; reboot'" in told.out
