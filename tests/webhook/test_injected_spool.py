"""A spool is given where it is asked for, and the pod says what it survives."""

import dataclasses
import json
from typing import Any

import pytest
from webhook.examples import SETTINGS, Manifest, app, decision, injected, pod, sidecar, verdict, workload
from webhook.test_injected_container import environment

from o365mailer_contract import names
from o365mailer_operator.webhook.injection import SAFE_TO_EVICT
from o365mailer_operator.webhook.verdict import Patch
from o365mailer_sidecar import config

SPOOL = names.SPOOL_ANNOTATION
EPHEMERAL, CLAIM = {SPOOL: "ephemeral"}, {SPOOL: "outbox"}
ALWAYS_EPHEMERAL = dataclasses.replace(SETTINGS, spool="ephemeral")
GIVEN = {"securityContext": {"fsGroup": 36525}}


def spool_of(manifest: Manifest) -> Manifest | None:
    """The spool's volume; None where there is none, and nothing of the sidecar speaks of one."""
    container = sidecar(manifest)
    found = [each for each in manifest["spec"]["volumes"] if each["name"] == "o365mailer-spool"]
    mounts = [each for each in container["volumeMounts"] if each["name"] == "o365mailer-spool"]
    told = environment(container).get("O365MAILER_SPOOL_DIR")
    if not found:
        assert (mounts, told) == ([], None)
        return None
    assert mounts == [{"name": "o365mailer-spool", "mountPath": "/var/spool/o365mailer"}]
    assert told == "/var/spool/o365mailer"
    (volume,) = found
    assert isinstance(volume, dict)
    return volume


def status(manifest: Manifest) -> dict[str, Any]:
    """What the pod says was done."""
    read = json.loads(manifest["metadata"]["annotations"][names.STATUS_ANNOTATION])
    assert isinstance(read, dict)
    return read


def warnings(manifest: Manifest) -> tuple[str, ...]:
    """What kubectl shows; the status says the same."""
    answer = verdict(manifest)
    assert isinstance(answer, Patch)
    assert answer.warnings == tuple(f"o365mailer: {note}" for note in status(injected(manifest)).get("notes", ()))
    return answer.warnings


@pytest.mark.promise("spool-in-the-pod")
def test_without_a_word_there_is_no_spool() -> None:
    assert spool_of(injected(pod())) is None
    assert "spool" not in status(injected(pod()))


@pytest.mark.promise("spool-in-the-pod")
def test_ephemeral_is_an_emptydir_without_a_size_limit_and_the_pod_says_what_it_survives() -> None:
    result = injected(pod(EPHEMERAL))
    assert spool_of(result) == {"name": "o365mailer-spool", "emptyDir": {}}
    assert status(result)["spool"] == {
        "volume": "ephemeral",
        "survives": "restarts of the container and the node; not the pod's deletion, eviction or completion",
    }


@pytest.mark.promise("spool-in-the-pod")
@pytest.mark.parametrize("name", ["outbox", "0", "mail.outbox-2", "a" * 253])
def test_any_other_word_is_the_users_claim_and_outlives_the_pod(name: str) -> None:
    result = injected(pod({SPOOL: name}, spec=GIVEN))
    assert spool_of(result) == {"name": "o365mailer-spool", "persistentVolumeClaim": {"claimName": name}}
    assert status(result)["spool"] == {
        "volume": f"claim {name}",
        "survives": "the pod: the next sidecar that mounts the claim sends what is left",
    }


@pytest.mark.promise("spool-in-the-pod")
@pytest.mark.parametrize("annotations", [EPHEMERAL, CLAIM])
def test_only_the_sidecar_mounts_the_spool_and_the_app_is_as_it_was(annotations: dict[str, str]) -> None:
    before = pod(annotations, spec={"volumes": [{"name": "data", "emptyDir": {}}], **GIVEN})
    after = injected(before)
    assert after["spec"]["containers"] == before["spec"]["containers"]
    assert after["spec"]["volumes"][0] == {"name": "data", "emptyDir": {}}


@pytest.mark.promise("spool-in-the-pod")
@pytest.mark.parametrize("annotations", [EPHEMERAL, CLAIM])
def test_the_sidecar_understands_where_its_spool_is(annotations: dict[str, str]) -> None:
    told = environment(sidecar(injected(pod(annotations, spec=GIVEN))))
    assert set(told) <= set(config.ENVIRONMENT.values())
    assert str(config.options([], told).spool_dir) == "/var/spool/o365mailer"
    assert config.options([], environment(sidecar(injected(pod())))).spool_dir is None


@pytest.mark.promise("spool-in-the-pod")
def test_the_installations_spool_is_for_pods_that_say_nothing_and_a_pods_own_word_goes_first() -> None:
    assert spool_of(injected(pod(), settings=ALWAYS_EPHEMERAL)) == {"name": "o365mailer-spool", "emptyDir": {}}
    claim = spool_of(injected(pod(CLAIM), settings=ALWAYS_EPHEMERAL))
    assert claim is not None
    assert claim["persistentVolumeClaim"] == {"claimName": "outbox"}
    assert spool_of(injected(pod({SPOOL: "none"}), settings=ALWAYS_EPHEMERAL)) is None


@pytest.mark.promise("spool-in-the-pod")
@pytest.mark.parametrize(("policy", "has"), [("Always", True), ("OnFailure", False), ("Never", False)])
def test_a_pod_that_ends_by_itself_gets_no_spool_unasked(policy: str, has: bool) -> None:
    result = injected(pod(spec={"restartPolicy": policy}), settings=ALWAYS_EPHEMERAL)
    assert (spool_of(result) is not None) is has


@pytest.mark.promise("spool-in-the-pod")
def test_a_pod_that_ends_by_itself_gets_the_ephemeral_spool_that_it_asks_for_and_a_warning() -> None:
    manifest = pod(EPHEMERAL, spec={"restartPolicy": "Never"})
    assert spool_of(injected(manifest)) is not None
    (warning,) = warnings(manifest)
    assert warning == (
        "o365mailer: the pod ends with its containers (restartPolicy: Never), and mail that Exchange has not taken by "
        "then is lost: name a PersistentVolumeClaim in annotation o365mailer.dev/spool, or none"
    )
    assert warnings(pod(CLAIM, spec={"restartPolicy": "Never", **GIVEN})) == ()


@pytest.mark.promise("spool-in-the-pod")
@pytest.mark.parametrize("before", [None, "data"])
def test_the_autoscaler_is_told_nothing_while_mail_may_be_in_an_emptydir(before: str | None) -> None:
    annotations = EPHEMERAL if before is None else {**EPHEMERAL, SAFE_TO_EVICT: before}
    assert injected(pod(annotations))["metadata"]["annotations"].get(SAFE_TO_EVICT) == before


@pytest.mark.promise("spool-in-the-pod")
def test_a_claim_outlives_the_pod_so_the_autoscaler_may_remove_the_node() -> None:
    annotations = injected(pod(CLAIM))["metadata"]["annotations"]
    assert annotations[SAFE_TO_EVICT] == "o365mailer-scratch,o365mailer-no-api-access"


@pytest.mark.promise("spool-in-the-pod")
@pytest.mark.parametrize(("before", "after"), [(0, 30), (5, 35), (30, 60), (600, 630), (None, 60)])
def test_a_last_try_fits_after_the_apps_own_grace_when_the_spool_ends_with_the_pod(
    before: int | None, after: int
) -> None:
    spec = {} if before is None else {"terminationGracePeriodSeconds": before}
    assert injected(pod(EPHEMERAL, spec=spec))["spec"]["terminationGracePeriodSeconds"] == after


@pytest.mark.promise("spool-in-the-pod")
@pytest.mark.parametrize(("before", "after"), [(0, 30), (5, 30), (30, 30), (600, 600), (None, None)])
def test_a_claim_needs_no_more_grace_than_mail_in_flight(before: int | None, after: int | None) -> None:
    spec = {} if before is None else {"terminationGracePeriodSeconds": before}
    assert injected(pod(CLAIM, spec=spec))["spec"].get("terminationGracePeriodSeconds") == after


@pytest.mark.parametrize("security", [None, {}, {"runAsUser": 1000}])
def test_a_claim_that_the_sidecar_may_not_be_able_to_write_is_warned_about_with_the_fix(
    security: Manifest | None,
) -> None:
    manifest = pod(CLAIM, spec={"securityContext": security})
    (warning,) = warnings(manifest)
    assert warning == (
        "o365mailer: the pod has no fsGroup, so the volume of claim outbox must let uid 36525 write: set the pod's "
        "securityContext.fsGroup, to 36525 or another group, unless it does"
    )
    security_after = injected(manifest)["spec"]["securityContext"]
    assert "fsGroup" not in security_after  # it would change the group of every file of the app's own volumes


def test_no_warning_where_a_group_owns_the_claim_or_the_platform_gives_one() -> None:
    assert warnings(pod(CLAIM, spec={"securityContext": {"fsGroup": 0}})) == ()
    answer = verdict(pod(CLAIM), settings=dataclasses.replace(SETTINGS, openshift=True))
    assert isinstance(answer, Patch)
    assert answer.warnings == ()


def test_a_limit_on_ephemeral_storage_that_counts_the_spool_is_warned_about() -> None:
    limited = app(resources={"limits": {"ephemeral-storage": "100Mi"}})
    (warning,) = warnings(pod(EPHEMERAL, spec=limited))
    assert warning == (
        "o365mailer: the spool counts against the pod's ephemeral-storage limit (container app), beyond which kubelet "
        "evicts the pod: keep the mailer's delivery.spool.maxSize well below it"
    )
    assert warnings(pod(CLAIM, spec={**limited, **GIVEN})) == ()
    assert warnings(pod(EPHEMERAL, spec=app(resources={"limits": {"memory": "1Gi"}}))) == ()


def test_every_warning_is_short_enough_for_the_api_server_to_pass_on() -> None:
    """Beyond 256 characters it may cut (kubernetes.io, "Warning: Helpful Warnings Ahead")."""
    odd = {"restartPolicy": "OnFailure", **app(resources={"limits": {"ephemeral-storage": "1Gi"}})}
    shown = [*warnings(pod(EPHEMERAL, spec=odd)), *warnings(pod({SPOOL: "c" * 63}))]
    assert len(shown) == 3
    assert max(map(len, shown)) <= 256


def test_a_volume_of_the_pod_may_have_the_spools_name_where_there_is_no_spool() -> None:
    theirs = {"volumes": [{"name": "o365mailer-spool", "emptyDir": {}}]}
    assert isinstance(verdict(pod(spec=theirs)), Patch)


def test_a_workload_of_pods_with_a_spool_shows_the_warning_to_the_person_who_annotates_it() -> None:
    new = workload("noreply", None)
    new["spec"]["template"]["metadata"]["annotations"] = CLAIM
    answer = decision(new)
    assert isinstance(answer, Patch)
    (warning,) = answer.warnings
    assert "has no fsGroup" in warning
