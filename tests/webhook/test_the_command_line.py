"""The command line: each flag, each variable, and what is said about a wrong one."""

import re
import socket
import subprocess
from pathlib import Path

import pytest
from support.completeness import need_ipv6_loopback
from webhook.process import COMMAND

from o365mailer_operator.connections import bind
from o365mailer_operator.webhook.options import parse
from o365mailer_operator.webhook.resources import DEFAULTS, Amounts

REQUIRED = {
    "O365MAILER_SIDECAR_IMAGE": "image",
    "O365MAILER_WEBHOOK_CA_DIR": "/ca",
    "O365MAILER_WEBHOOK_SERVICE": "hook",
    "POD_NAMESPACE": "mail",
}


def test_defaults() -> None:
    options = parse([], REQUIRED)
    assert (options.listen, options.health) == (("::", 10250), ("::", 9025))
    assert (options.ca_directory, options.leaf_lifetime.total_seconds(), options.drain) == (Path("/ca"), 86400, 5)
    assert options.server_names == ("hook", "hook.mail", "hook.mail.svc", "hook.mail.svc.cluster.local")
    assert (options.settings.image, options.settings.image_pull_policy) == ("image", "IfNotPresent")
    assert (options.settings.resources, options.settings.openshift, options.settings.log_level) == (
        DEFAULTS,
        False,
        None,
    )
    assert options.settings.spool == ""


def test_every_flag_is_a_variable_too(capsys: pytest.CaptureFixture[str]) -> None:
    given = {
        **REQUIRED,
        "O365MAILER_WEBHOOK_LISTEN": "127.0.0.1:1",
        "O365MAILER_HEALTH": "0.0.0.0:2",
        "O365MAILER_SIDECAR_PULL_POLICY": "Always",
        "O365MAILER_SIDECAR_PULL_SECRETS": "a, b",
        "O365MAILER_SIDECAR_RESOURCES": '{"requests": {"cpu": "5m"}, "limits": {"cpu": 1}}',
        "O365MAILER_SIDECAR_LOG_LEVEL": "debug",
        "O365MAILER_SIDECAR_SPOOL": "ephemeral",
        "O365MAILER_WEBHOOK_EXTRA_NAMES": "127.0.0.1",
        "O365MAILER_OPENSHIFT": "true",
        "O365MAILER_WEBHOOK_LEAF_LIFETIME": "6s",
        "O365MAILER_WEBHOOK_DRAIN": "0s",
        "O365MAILER_LOG_LEVEL": "error",
    }
    with pytest.raises(SystemExit):
        parse(["--help"], {})
    assert set(given) == set(re.findall(r"\b(?:O365MAILER_[A-Z_]+|POD_[A-Z]+)\b", capsys.readouterr().out))
    options = parse([], given)
    assert (options.listen, options.health, options.drain, options.log_level) == (
        ("127.0.0.1", 1),
        ("0.0.0.0", 2),
        0,
        "error",
    )
    assert options.server_names[-1] == "127.0.0.1"
    assert options.leaf_lifetime.total_seconds() == 6
    settings = options.settings
    assert (settings.image_pull_policy, settings.image_pull_secrets) == ("Always", ("a", "b"))
    assert settings.resources == Amounts(requests={"cpu": "5m"}, limits={"cpu": "1"})
    assert (settings.log_level, settings.openshift, settings.spool) == ("debug", True, "ephemeral")


def test_a_flag_goes_before_its_variable() -> None:
    assert parse(["--image=other"], REQUIRED).settings.image == "other"


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--image=", "--image (O365MAILER_SIDECAR_IMAGE): must be set"),
        ("--ca-directory=", "--ca-directory (O365MAILER_WEBHOOK_CA_DIR): must be set"),
        (
            "--listen=10250",
            "--listen (O365MAILER_WEBHOOK_LISTEN): '10250' is not HOST:PORT, such as [::]:9025 or 127.0.0.1:0",
        ),
        ("--health=[::]:99999", "--health (O365MAILER_HEALTH): '[::]:99999' is not HOST:PORT"),
        ("--image-pull-policy=always", "'always' is not one of Always, IfNotPresent, Never"),
        ("--resources={", "--resources (O365MAILER_SIDECAR_RESOURCES): Input data was truncated"),
        ('--resources={"limit": {}}', "Object contains unknown field `limit`"),
        ('--resources={"limits": {"cpu": "much"}}', "'much' is not a quantity"),
        ("--leaf-lifetime=1", "--leaf-lifetime (O365MAILER_WEBHOOK_LEAF_LIFETIME): '1' is not a duration"),
        ("--spool=outbox", "--spool (O365MAILER_SIDECAR_SPOOL): 'outbox' is not one of ephemeral"),
        ("--openshift=yes", "--openshift (O365MAILER_OPENSHIFT): 'yes' is not one of true, false"),
        ("--log-level=loud", "--log-level (O365MAILER_LOG_LEVEL): 'loud' is not one of debug, info, warning, error"),
    ],
)
def test_a_wrong_flag_is_named_with_its_variable(flag: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse([flag], REQUIRED)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_an_address_that_is_taken_ends_the_process_with_the_fix(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        arguments = ["--image=i", f"--ca-directory={tmp_path}", "--service-name=s", "--service-namespace=n"]
        done = subprocess.run(
            [COMMAND, *arguments, f"--listen=127.0.0.1:{port}", "--health=127.0.0.1:0"],
            capture_output=True,
            text=True,
            timeout=30,
        )
    assert done.returncode == 1
    assert "cannot listen: set --listen and --health to addresses that are free" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("client", ["127.0.0.1", "::1"])
def test_the_unspecified_ipv6_address_answers_both_families(client: str) -> None:
    if client == "::1":
        need_ipv6_loopback()
    with bind(("::", 0)) as listener, socket.create_connection((client, listener.getsockname()[1]), timeout=5):
        pass
