"""Two controllers, and the active one is killed as a node's power cut would."""

import itertools

import pytest
from cluster.installation import CONTROLLER, OPERATOR, TOKEN_SECONDS, Installation
from cluster.power_cut import OPERATOR_USER, kill_9
from cluster.team import Team
from support.waiting import eventually

pytestmark = pytest.mark.timeout(300)

LEASE_SECONDS = 15
"""The controller's default (--lease-duration)."""
MINT_SECONDS = 10
"""For the new one's first look at its mailers, and one token, on a machine that is busy."""
SOONEST_RENEWAL = 0.6 * TOKEN_SECONDS
VISITS = 'o365mailer_reconciles_total{result="success"}'


@pytest.mark.promise("one-active-controller")
def test_after_kill_9_of_the_active_controller_the_other_mints_in_time_and_nothing_twice(
    installation: Installation, team: Team, lax_team: Team
) -> None:
    with installation.changed("controller.replicas=2"), installation.team() as late:
        first = installation.active_controller()
        (second,) = (pod for pod in installation.pods(CONTROLLER) if pod != first)
        assert installation.metric(second, "o365mailer_leading") == 0
        killed = kill_9(lax_team, first, namespace=OPERATOR, process="o365mailer-cont", user=OPERATOR_USER)
        late.apply_mailer()
        assert installation.active_controller() == second
        assert late.tokens_issued()[0]["issued"] - killed < LEASE_SECONDS + MINT_SECONDS
        mailers = 4  # late, team, lax_team and the steady one
        eventually(lambda: installation.metric(second, VISITS) >= mailers, "the other controller looks at every mailer")
        assert [len(each.tokens_issued()) for each in (late, team, lax_team)] == [1, 1, 1]
        nothing_came_too_soon(late, team, lax_team, installation.steady)
        killed_pod = installation.kubectl.json("get", "pod", first, "--namespace", OPERATOR)
        (status,) = killed_pod["status"]["containerStatuses"]
        assert status["lastState"]["terminated"]["exitCode"] == 137


def nothing_came_too_soon(*teams: Team) -> None:
    """No application got a token while it had one that was not due for renewal. (None of these asked for a refresh.)"""
    issued = [[token["issued"] for token in team.tokens_issued()] for team in teams]
    gaps = [after - before for times in issued for before, after in itertools.pairwise(times)]
    assert all(gap > SOONEST_RENEWAL - 2 for gap in gaps), sorted(gaps)
