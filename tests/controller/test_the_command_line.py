"""`o365mailer-controller`'s flags, their environment variables, and what it says when one is wrong."""

import os
import re
import socket
import subprocess
import sys

import pytest
from cluster_rig.control_plane import ControlPlane

from o365mailer_operator.controller.options import parse
from o365mailer_operator.token.endpoints import MICROSOFTS_AUTHORITIES, MICROSOFTS_SUBMISSION


def test_flags_win_over_the_environment() -> None:
    environment = {"POD_NAMESPACE": "from-environment", "O365MAILER_LEASE_DURATION": "30s"}
    options = parse(["--namespace", "from-flag"], environment)
    assert (options.namespace, options.lease_duration) == ("from-flag", 30.0)


def test_lists_come_from_commas_or_repeated_flags() -> None:
    environment = {
        "O365MAILER_ALLOW_AUTHORITY_HOSTS": "a.example, b.example:8443",
        "O365MAILER_WATCH_NAMESPACES": "one,two",
    }
    arguments = ["--allow-authority-host", "c.example", "--allow-submission-host", "d.example"]
    options = parse(arguments, environment)
    added = {"a.example", "b.example:8443", "c.example"}
    assert options.allowed_hosts.authority - MICROSOFTS_AUTHORITIES == added
    assert options.allowed_hosts.submission - MICROSOFTS_SUBMISSION == {"d.example"}
    assert options.watch_namespaces == ("one", "two")


def test_microsofts_own_hosts_are_always_allowed_and_all_namespaces_watched_by_default() -> None:
    options = parse([], {})
    assert options.allowed_hosts.authority == MICROSOFTS_AUTHORITIES
    assert options.allowed_hosts.submission == MICROSOFTS_SUBMISSION
    assert options.watch_namespaces == ()
    assert (options.health, options.webhook_configuration, options.entra_proxy) == (("::", 9025), None, None)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (
            ["--health", "9025"],
            "--health (O365MAILER_HEALTH): '9025' is not HOST:PORT, such as [::]:9025 or 127.0.0.1:0",
        ),
        (["--health", "::1:9025"], "is not HOST:PORT"),
        (["--lease-duration", "1s"], "--lease-duration (O365MAILER_LEASE_DURATION): '1s' is shorter than 5s"),
        (["--lease-duration", "soon"], "'soon' is not a duration such as 10s, 5m or 24h"),
        (
            ["--log-level", "loud"],
            "--log-level (O365MAILER_LOG_LEVEL): 'loud' is not one of debug, info, warning, error",
        ),
        (["--watch", "x"], "unrecognized arguments: --watch"),
    ],
)
def test_a_wrong_flag_is_named(arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(arguments, {})
    assert ended.value.code == 2
    assert text in capsys.readouterr().err


def test_the_help_names_every_variable(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["--help"], {})
    told = capsys.readouterr().out
    assert told.count("  --") == len(re.findall(r"\((?:O365MAILER|POD)_[A-Z_]+", told))


def test_a_health_port_that_is_taken_is_named(cluster: ControlPlane) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-m", "o365mailer_operator.controller", "--health", f"127.0.0.1:{port}"],
            env={"PATH": os.environ["PATH"], "KUBECONFIG": str(cluster.kubeconfig)},
            capture_output=True,
            text=True,
            timeout=30,
        )
    assert done.returncode == 2
    assert done.stderr.startswith(f"o365mailer-controller: cannot listen on 127.0.0.1 port {port}: ")
    assert "give --health another HOST:PORT" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("kubeconfig", ["/nowhere/kubeconfig", "/dev/null"])
def test_without_an_api_server_to_go_to_it_says_what_to_set(kubeconfig: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "o365mailer_operator.controller"],
        env={"PATH": os.environ["PATH"], "KUBECONFIG": kubeconfig},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("o365mailer-controller: cannot find the API server")
    assert "set KUBECONFIG" in done.stderr
    assert "Traceback" not in done.stderr
