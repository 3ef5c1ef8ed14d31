"""The controller's half: the Secret of the authority, and the `caBundle` of the one configuration."""

import base64
from collections.abc import Iterator

import pytest
from cluster_rig.control_plane import ControlPlane
from support.waiting import eventually
from webhook.examples import pod
from webhook.installation import Installation, Manifest

from o365mailer_contract import names

LONG = 600.0
"""Seconds between two looks at the clock: what happens sooner was brought about by the watch."""


@pytest.fixture(scope="module")
def installation(control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    directory = tmp_path_factory.mktemp("bundle")
    with Installation(plane=control_plane, directory=directory, authority={"pause": LONG}) as installed:
        yield installed


def secret(installation: Installation) -> Manifest:
    found = installation.plane.kubectl.json("get", "secret", names.CA_SECRET, "-n", installation.namespace)
    assert isinstance(found, dict)
    return found


@pytest.mark.promise("webhook-certificates-renewed")
def test_the_bundle_that_kubectl_replace_wiped_is_back_at_once(installation: Installation) -> None:
    (before,) = installation.bundles()
    installation.plane.kubectl("replace", "-f", "-", stdin=installation.configuration())
    eventually(lambda: installation.bundles() == {before}, "the bundle is back", within=5)
    eventually(installation.trusted, "pods are created again", within=5)


@pytest.mark.promise("webhook-certificates-renewed")
def test_only_the_bundle_is_written_into_the_configuration(installation: Installation) -> None:
    stored = installation.plane.kubectl.json(
        "get", "mutatingwebhookconfiguration", names.WEBHOOK_NAME, "--show-managed-fields"
    )
    (ours,) = [
        entry["fieldsV1"] for entry in stored["metadata"]["managedFields"] if "f:caBundle" in str(entry["fieldsV1"])
    ]
    webhooks = ours["f:webhooks"]
    assert {key for key in webhooks if "pods." in key or "workloads." in key} == set(webhooks)
    assert all(fields == {"f:clientConfig": {"f:caBundle": {}}} for fields in webhooks.values())
    assert set(ours) == {"f:webhooks"}


@pytest.mark.promise("webhook-certificates-renewed")
def test_a_configuration_that_comes_later_gets_the_bundle(installation: Installation) -> None:
    (before,) = installation.bundles()
    installation.plane.kubectl("delete", "-f", "-", stdin=installation.configuration())
    installation.plane.kubectl("apply", "-f", "-", stdin=installation.configuration())
    eventually(lambda: installation.bundles() == {before}, "the bundle is there", within=5)


def test_the_bundle_is_the_secrets(installation: Installation) -> None:
    data = secret(installation)["data"]
    assert installation.bundles() == {data[names.CA_SECRET_CERTIFICATE]}
    assert base64.b64decode(data[names.CA_SECRET_CERTIFICATE]) == base64.b64decode(data[names.CA_SECRET_SIGNER])


@pytest.mark.promise("webhook-certificates-renewed")
def test_a_deleted_secret_is_made_anew_and_no_pod_is_refused_meanwhile(
    installation: Installation,
) -> None:
    before = secret(installation)["data"][names.CA_SECRET_SIGNER]
    installation.plane.kubectl("delete", "secret", names.CA_SECRET, "-n", installation.namespace)
    # The watch is on the configuration: touching it is what brings the next look, as the clock would.
    annotate = ("annotate", "mutatingwebhookconfiguration", names.WEBHOOK_NAME, "touched=yes", "--overwrite")
    installation.plane.kubectl(*annotate)
    anew = eventually(
        lambda: (
            secret(installation)["data"][names.CA_SECRET_SIGNER]
            if installation.plane.kubectl.process(
                "get", "secret", names.CA_SECRET, "-n", installation.namespace
            ).returncode
            == 0
            else None
        ),
        "the Secret is there",
        within=5,
    )
    assert anew != before
    for _ in range(20):
        answer = installation.api.create_pod("default", pod())
        assert answer.status == 201, answer.message


@pytest.mark.promise("webhook-certificates-renewed")
def test_a_secret_that_is_not_ours_is_left_alone(installation: Installation, caplog: pytest.LogCaptureFixture) -> None:
    name = ("secret", names.CA_SECRET, "-n", installation.namespace)
    installation.plane.kubectl("label", *name, f"{names.MANAGED_BY_LABEL}-")
    installation.plane.kubectl("patch", *name, "-p", '{"data": {"tls.key": "bm90LWEta2V5"}}')
    version = secret(installation)["metadata"]["resourceVersion"]
    annotate = ("annotate", "mutatingwebhookconfiguration", names.WEBHOOK_NAME)
    installation.plane.kubectl(*annotate, "touched=again", "--overwrite")
    eventually(lambda: "is not ours: delete it, it is then made anew" in caplog.text, "the keeper has looked")
    assert secret(installation)["metadata"]["resourceVersion"] == version
    installation.plane.kubectl("label", *name, f"{names.MANAGED_BY_LABEL}={names.MANAGED_BY}")
    installation.plane.kubectl(*annotate, "touched=more", "--overwrite")
    eventually(lambda: secret(installation)["metadata"]["resourceVersion"] != version, "ours is repaired", within=5)
