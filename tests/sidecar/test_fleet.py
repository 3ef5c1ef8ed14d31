"""Fifty pods on one mailbox, in virtual time, seeded: no figure here depends on the machine."""

from statistics import mean

import pytest
from support.mailbox_fleet import fleet, flood

EXCHANGES = [("connection", "auth"), ("connection", "body"), ("submission", "auth"), ("submission", "body")]


@pytest.mark.promise("mailbox-shared-fairly")
@pytest.mark.parametrize(("slots", "crowded_at"), EXCHANGES)
def test_a_backlogged_fleet_uses_the_mailbox_and_shares_it(slots: str, crowded_at: str) -> None:
    runs = [fleet(pods=50, each=20, seed=seed, slots=slots, crowded_at=crowded_at) for seed in range(6)]
    assert min(run.utilisation for run in runs) >= 0.9
    assert max(run.crowded for run in runs) <= 2
    assert mean(run.jain for run in runs) >= 0.9
    assert min(run.jain for run in runs) >= 0.8


@pytest.mark.promise("mailbox-shared-fairly")
@pytest.mark.parametrize(("slots", "crowded_at"), EXCHANGES)
def test_one_that_floods_keeps_no_other_from_a_mail_a_minute(slots: str, crowded_at: str) -> None:
    run = flood(pods=50, minutes=20, seed=1, slots=slots, crowded_at=crowded_at)
    assert run.jain > 0.99
    assert run.waits[len(run.waits) // 2] < 10
    assert run.waits[-1] < 120
    assert run.crowded <= 2


@pytest.mark.parametrize("pods", [2, 4, 10, 20])
def test_a_few_pods_use_most_of_the_mailbox(pods: int) -> None:
    runs = [fleet(pods=pods, each=100, seed=seed, slots="connection", crowded_at="body") for seed in range(3)]
    assert mean(run.utilisation for run in runs) >= 0.6
    assert max(run.crowded for run in runs) <= 1


def test_a_pod_alone_has_nearly_all_of_it() -> None:
    run = fleet(pods=1, each=300, seed=1, slots="connection", crowded_at="body")
    assert run.utilisation >= 0.9
    assert run.crowded == 0
