"""A kubeconfig whose user acts as another one, as kubectl reads it."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from cluster_rig.control_plane import ControlPlane

from command.team import Ask, command


def acting(cluster: ControlPlane, path: Path, **user: Any) -> Path:
    """The administrator's kubeconfig, whose user has these members as well."""
    document = yaml.safe_load(cluster.kubeconfig.read_text(encoding="utf-8"))
    document["users"][0]["user"].update(user)
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return path


def test_the_command_has_the_rights_of_the_user_it_acts_as(
    cluster: ControlPlane, ask: Ask, namespace: str, tmp_path: Path
) -> None:
    jane = acting(cluster, tmp_path / "jane", **{"as": "jane"})

    refused = ask("status", "-n", namespace, kubeconfig=jane)

    assert refused.status == 2
    assert 'User "jane" cannot list' in refused.err
    assert ask("status", "-n", namespace).status == 0


def test_each_group_is_used(cluster: ControlPlane, ask: Ask, namespace: str, tmp_path: Path) -> None:
    groups = {"as": "jane", "as-groups": ["system:masters", "mail"], "as-user-extra": {"Reason": ["a test"]}}

    assert ask("status", "-n", namespace, kubeconfig=acting(cluster, tmp_path / "jane", **groups)).status == 0


@pytest.mark.parametrize("member", [{"as-groups": ["mail"]}, {"as-uid": "1"}, {"as-user-extra": {"a": ["b"]}}])
def test_a_group_without_a_user_is_told(cluster: ControlPlane, tmp_path: Path, member: dict[str, Any]) -> None:
    told = command("status", "--kubeconfig", str(acting(cluster, tmp_path / "jane", **member)))

    assert (told.status, told.out) == (2, "")
    assert "no as: name a user." in told.err
