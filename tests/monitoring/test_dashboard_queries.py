"""A real Prometheus scrapes real processes as the documentation says, and answers every query and rule with it."""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from cluster_rig.control_plane import ControlPlane
from monitoring.installation import Installation, running
from monitoring.prometheus import ALERTS, Prometheus, program
from support.waiting import eventually

pytestmark = pytest.mark.timeout(180)

DASHBOARD: dict[str, Any] = json.loads(ALERTS.with_name("dashboard.json").read_text(encoding="utf-8"))
QUERIES = [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", [])]


class Scraped(NamedTuple):
    """An installation, and the Prometheus that scrapes it."""

    installed: Installation
    prometheus: Prometheus


@pytest.fixture(scope="module")
def scraped(control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scraped]:
    """Prometheus, started when all else runs."""
    program("prometheus")
    with running(control_plane, tmp_path_factory.mktemp("installation")) as installed:
        configuration = installed.configuration()
        with Prometheus(configuration, tmp_path_factory.mktemp("prometheus")) as prometheus:
            prometheus.wait_until_up()
            yield Scraped(installed, prometheus)


def filled_in(query: str, shop: str) -> str:
    """The query as Grafana sends it, without the 0 that stands for no result."""
    for variable, value in (("$namespace", shop), ("$mailer", ".*"), ("$__rate_interval", "20s")):
        query = query.replace(variable, value)
    return query.removesuffix(" or vector(0)")


def test_the_documented_jobs_scrape_every_process_and_name_its_mailer(scraped: Scraped) -> None:
    shop, operator = scraped.installed.shop.name, scraped.installed.operator
    expected = {
        **{(shop, name): "noreply" for name in ("sends", "waits", "away")},
        **{(operator, name): None for name in ("controller", "webhook")},
    }

    def all_up() -> bool:
        found = [each["metric"] for each in scraped.prometheus.query("up == 1")]
        seen = {(each["namespace"], each["pod"]): each.get("mailer") for each in found}
        return seen.items() >= expected.items()

    eventually(all_up, "every target")


@pytest.mark.promise("alerts-with-runbooks")
def test_every_query_of_the_dashboard_returns_a_series(scraped: Scraped) -> None:
    wanted = [filled_in(query, scraped.installed.shop.name) for query in QUERIES]
    assert len(wanted) > 50

    def empty() -> list[str]:
        return [query for query in wanted if not scraped.prometheus.query(query)]

    try:
        eventually(lambda: not empty(), pause=1, within=60)
    except AssertionError:
        raise AssertionError("\n".join(["no series:", *empty()])) from None


def test_every_rule_is_evaluated(scraped: Scraped) -> None:
    def rules() -> list[dict[str, Any]]:
        return [rule for group in scraped.prometheus.get("rules")["groups"] for rule in group["rules"]]

    eventually(lambda: rules() and all(rule["health"] == "ok" for rule in rules()), "every rule's first evaluation")
    assert [rule["lastError"] for rule in rules() if rule.get("lastError")] == []


@pytest.mark.promise("alerts-with-runbooks")
def test_what_is_wrong_here_is_on_its_way_to_an_alert_and_what_is_right_is_not(scraped: Scraped) -> None:
    shop = scraped.installed.shop.name
    expected = {
        ("O365MailerNotReady", "broken"),
        ("O365MailerNotReady", "certified"),
        ("O365MailerCredentialExpires", "noreply"),
        ("O365MailerRelayRefuses", "noreply"),
        ("O365MailerMailboxLocked", "noreply"),
        ("O365MailerExchangeUnreachable", "noreply"),
        ("O365MailerPodsOutdated", "noreply"),
    }

    def pending() -> set[tuple[str, str]]:
        found = [each["metric"] for each in scraped.prometheus.query("ALERTS")]
        return {(each["alertname"], each.get("mailer", "")) for each in found if each.get("namespace", shop) == shop}

    eventually(lambda: pending() >= expected, f"{expected}", pause=0.5)
    assert pending() == expected
