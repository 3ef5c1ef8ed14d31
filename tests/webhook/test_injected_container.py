"""What an annotated pod gets."""

import csv
import dataclasses
import json
import re
from collections.abc import Callable

import pytest
from webhook.examples import SETTINGS, Manifest, app, denial, injected, pod, sidecar, verdict

from o365mailer_contract import names
from o365mailer_operator.webhook.injection import SAFE_TO_EVICT, SKIP_CONTAINERS
from o365mailer_operator.webhook.review import encode
from o365mailer_operator.webhook.verdict import Patch, Reason, Untouched
from o365mailer_sidecar import config

SYSCTL = "net.ipv4.ip_unprivileged_port_start"


def environment(container: dict[str, object]) -> dict[str, str]:
    entries = container["env"]
    assert isinstance(entries, list)
    return {entry["name"]: entry["value"] for entry in entries}


@pytest.mark.promise("sidecar-starts-first")
def test_the_sidecar_is_native_and_the_first_of_the_init_containers() -> None:
    result = injected(pod(spec={"initContainers": [{"name": "migrate", "image": "app"}]}))
    assert [each["name"] for each in result["spec"]["initContainers"]] == [names.CONTAINER, "migrate"]
    assert sidecar(result)["restartPolicy"] == "Always"
    assert [each["name"] for each in result["spec"]["containers"]] == ["app"]


def test_a_pod_without_the_annotation_is_untouched() -> None:
    bare = {"metadata": {"name": "web"}, "spec": app()}
    assert verdict(bare) == Untouched(why="no annotation")
    assert isinstance(verdict(pod()), Patch)


@pytest.mark.promise("broken-annotation-explained")
@pytest.mark.parametrize("where", ["containers", "initContainers"])
def test_a_container_of_the_users_with_our_name_is_refused_and_not_taken_for_ours(where: str) -> None:
    manifest = pod()
    manifest["spec"].setdefault(where, []).append({"name": names.CONTAINER, "image": "theirs"})
    assert denial(manifest).reason is Reason.CONTAINER_NAME_TAKEN
    ours = pod({names.STATUS_ANNOTATION: "{}"})
    ours["spec"] = manifest["spec"]
    assert verdict(ours) == Untouched(why="injected already")


def test_a_status_annotation_without_the_container_keeps_nothing_from_the_pod() -> None:
    """A template copied from an injected pod, from which only the container was removed."""
    result = injected(pod({names.STATUS_ANNOTATION: "{}"}))
    assert sidecar(result)
    assert json.loads(result["metadata"]["annotations"][names.STATUS_ANNOTATION])["mailer"] == "noreply"


UNKNOWN = "o365mailer.dev/log-level"


@pytest.mark.promise("broken-annotation-explained")
def test_an_unknown_annotation_of_a_pod_is_a_warning_so_that_a_rollback_stops_no_pod() -> None:
    manifest = pod({UNKNOWN: "debug"})
    answer = verdict(manifest)
    assert isinstance(answer, Patch)
    (warning,) = answer.warnings
    assert warning == (
        "o365mailer: annotation o365mailer.dev/log-level is not known to this version and has no effect: correct its "
        "name, or remove it (docs/injection.md lists the known ones)"
    )
    status = json.loads(injected(manifest)["metadata"]["annotations"][names.STATUS_ANNOTATION])
    assert status["notes"] == [warning.removeprefix("o365mailer: ")]
    assert sidecar(injected(manifest)) == sidecar(injected(pod()))


@pytest.mark.promise("neighbours-are-safe")
def test_thousands_of_unknown_annotations_are_told_in_eleven_warnings() -> None:
    manifest = pod({f"o365mailer.dev/a{number:05}": "" for number in range(10_000)})
    answer = verdict(manifest)
    assert isinstance(answer, Patch)
    assert len(answer.warnings) == 11
    assert answer.warnings[0] == (
        "o365mailer: 9990 more annotations of o365mailer.dev are not known to this version and have no effect"
    )
    assert "o365mailer.dev/a00009 is not known" in answer.warnings[10]
    assert sidecar(injected(manifest)) == sidecar(injected(pod()))


def named_limit(name: str) -> Manifest:
    """A pod whose container of this name limits what the spool counts against."""
    container = {"name": name, "image": "app", "resources": {"limits": {"ephemeral-storage": "1Gi"}}}
    return pod({names.SPOOL_ANNOTATION: "ephemeral"}, spec={"containers": [container]})


def named_port(name: str) -> Manifest:
    """A pod whose container of this name has port 587."""
    return pod(spec={"containers": [{"name": name, "image": "app", "ports": [{"containerPort": 587}]}]})


@pytest.mark.parametrize(
    ("named", "longest"),
    [
        (lambda name: pod({f"o365mailer.dev/{name}": ""}), 200),
        (lambda name: pod({names.SPOOL_ANNOTATION: name}), 253),
        (named_port, 63),
        (named_limit, 63),
    ],
    ids=["unknown annotation", "claim", "port 587", "ephemeral storage"],
)
def test_a_warning_reaches_its_reader_whole_however_long_a_name_in_it(
    named: Callable[[str], Manifest], longest: int
) -> None:
    """The API server may cut what is longer than 256 characters: the name gives way, never the fix."""

    def warning(name: str) -> str:
        answer = verdict(named(name))
        assert isinstance(answer, Patch)
        (only,) = json.loads(encode("uid", answer))["response"]["warnings"]
        return str(only)

    long, short = warning("q" * longest), warning("q")
    assert len(long) <= 256
    assert re.sub("q+…?", "q", long) == short
    assert len(long) > len(short)


def test_a_static_pods_mirror_is_untouched() -> None:
    assert verdict(pod({"kubernetes.io/config.mirror": "x"})) == Untouched(why="static pod")


def test_it_listens_on_the_loopback_of_both_families_on_25_and_587() -> None:
    container = sidecar(injected(pod()))
    assert environment(container) == {
        "O365MAILER_MAILER_DIR": "/var/run/o365mailer",
        "O365MAILER_LISTEN": "127.0.0.1:25,[::1]:25,127.0.0.1:587,[::1]:587",
        "O365MAILER_HEALTH": "[::]:9025",
        "O365MAILER_SCRATCH_DIR": "/var/lib/o365mailer",
    }
    assert container["ports"] == [{"name": "o365m-health", "containerPort": 9025, "protocol": "TCP"}]


def test_the_sidecar_understands_what_it_is_told() -> None:
    told = environment(sidecar(injected(pod({names.PORTS_ANNOTATION: "2525", names.HEALTH_PORT_ANNOTATION: "9999"}))))
    assert set(told) <= set(config.ENVIRONMENT.values())
    understood = config.options([], told)
    assert str(understood.mailer_dir) == "/var/run/o365mailer"
    assert [str(address) for address in understood.listen] == ["127.0.0.1:2525", "[::1]:2525"]
    assert str(understood.health) == "[::]:9999"
    assert str(understood.scratch_dir) == "/var/lib/o365mailer"


@pytest.mark.promise("token-only-in-the-sidecar")
def test_only_the_sidecar_mounts_the_token_and_nothing_of_it_can_be_written() -> None:
    result = injected(pod(spec={"volumes": [{"name": "data", "emptyDir": {}}]}))
    volumes = {volume.pop("name"): volume for volume in result["spec"]["volumes"]}
    assert volumes == {
        "data": {"emptyDir": {}},
        "o365mailer-directory": {
            "secret": {"secretName": "o365mailer.noreply", "optional": True, "defaultMode": 0o444}
        },
        "o365mailer-scratch": {"emptyDir": {}},
        "o365mailer-no-api-access": {"emptyDir": {}},
    }
    mounts = {mount["name"]: mount for mount in sidecar(result)["volumeMounts"]}
    assert mounts["o365mailer-directory"] == {
        "name": "o365mailer-directory",
        "mountPath": "/var/run/o365mailer",
        "readOnly": True,
    }
    assert "volumeMounts" not in result["spec"]["containers"][0]


@pytest.mark.promise("token-only-in-the-sidecar")
def test_an_empty_read_only_volume_hides_the_service_account_token() -> None:
    mounts = {mount["mountPath"]: mount for mount in sidecar(injected(pod()))["volumeMounts"]}
    hidden = mounts["/var/run/secrets/kubernetes.io/serviceaccount"]
    assert hidden["name"] == "o365mailer-no-api-access"
    assert hidden["readOnly"] is True


@pytest.mark.promise("pod-security-restricted")
def test_its_security_context_is_what_pod_security_restricted_asks_for() -> None:
    assert sidecar(injected(pod(spec={"securityContext": {"runAsUser": 0, "fsGroup": 7}})))["securityContext"] == {
        "runAsUser": 36525,
        "runAsGroup": 36525,
        "runAsNonRoot": True,
        "allowPrivilegeEscalation": False,
        "privileged": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }


@pytest.mark.promise("pod-security-restricted")
@pytest.mark.parametrize(
    ("pods", "ours"),
    [
        ({"type": "Localhost", "localhostProfile": "deny-write"}, {"type": "RuntimeDefault"}),
        ({"type": "RuntimeDefault"}, None),
        ({"type": "Unconfined"}, None),
        (None, None),
    ],
)
def test_an_app_armor_profile_made_for_the_app_does_not_hold_for_the_sidecar(
    pods: dict[str, str] | None, ours: dict[str, str] | None
) -> None:
    """A node without AppArmor refuses a pod that names any profile, so none is written where the pod names none."""
    before = {} if pods is None else {"appArmorProfile": pods}
    result = injected(pod(spec={"securityContext": before}))
    assert sidecar(result)["securityContext"].get("appArmorProfile") == ours
    assert result["spec"]["securityContext"].get("appArmorProfile") == pods


@pytest.mark.parametrize(("pod_user", "uid"), [(None, None), (1000, None), (0, 36525)])
def test_on_openshift_the_platform_chooses_the_uid_unless_the_pod_would_be_root(
    pod_user: int | None, uid: int | None
) -> None:
    security = {} if pod_user is None else {"runAsUser": pod_user}
    result = injected(pod(spec={"securityContext": security}), settings=dataclasses.replace(SETTINGS, openshift=True))
    assert sidecar(result)["securityContext"].get("runAsUser") == uid
    assert sidecar(result)["securityContext"]["runAsNonRoot"] is True


def test_the_pods_own_security_context_keeps_every_field() -> None:
    before = {"runAsUser": 0, "fsGroup": 7, "sysctls": [{"name": "net.core.somaxconn", "value": "1024"}]}
    after = injected(pod(spec={"securityContext": before}))["spec"]["securityContext"]
    assert after == {**before, "sysctls": [*before["sysctls"], {"name": SYSCTL, "value": "0"}]}  # type: ignore[misc]


@pytest.mark.parametrize(
    ("annotations", "present", "written"),
    [
        ({}, None, "0"),
        ({}, "0", None),
        ({}, "25", None),
        ({names.PORTS_ANNOTATION: "587"}, None, "0"),
        ({names.PORTS_ANNOTATION: "2525"}, None, None),
        ({names.PORTS_ANNOTATION: "2525"}, "1000", None),
        ({names.PORTS_ANNOTATION: "2525", names.HEALTH_PORT_ANNOTATION: "1000"}, None, "0"),
    ],
)
def test_the_sysctl_is_written_only_where_a_port_needs_it(
    annotations: dict[str, str], present: str | None, written: str | None
) -> None:
    sysctls = [] if present is None else [{"name": SYSCTL, "value": present}]
    after = injected(pod(annotations, spec={"securityContext": {"sysctls": sysctls}}))["spec"]["securityContext"]
    added = [entry["value"] for entry in after["sysctls"][len(sysctls) :]]
    assert added == ([] if written is None else [written])


@pytest.mark.promise("sidecar-starts-first")
def test_it_has_no_probe_and_a_hook_that_waits_for_the_relay() -> None:
    container = sidecar(injected(pod({names.HEALTH_PORT_ANNOTATION: "9999"})))
    assert not [field for field in container if field.lower().endswith("probe")]
    assert container["lifecycle"] == {"postStart": {"exec": {"command": ["o365mailer-await-ready", "9999"]}}}
    assert environment(container)["O365MAILER_HEALTH"] == "[::]:9999"


@pytest.mark.parametrize(("before", "after"), [(0, 30), (5, 30), (30, 30), (600, 600), (None, None)])
def test_the_grace_period_is_raised_and_never_lowered(before: int | None, after: int | None) -> None:
    spec = {} if before is None else {"terminationGracePeriodSeconds": before}
    assert injected(pod(spec=spec))["spec"].get("terminationGracePeriodSeconds") == after


def test_a_crash_leaves_its_last_log_lines_in_the_pods_status() -> None:
    assert sidecar(injected(pod()))["terminationMessagePolicy"] == "FallbackToLogsOnError"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, "o365mailer-scratch,o365mailer-no-api-access"),
        ("", "o365mailer-scratch,o365mailer-no-api-access"),
        ("data", "data,o365mailer-scratch,o365mailer-no-api-access"),
        ("o365mailer-scratch,data", "o365mailer-scratch,data,o365mailer-no-api-access"),
    ],
)
def test_the_autoscaler_may_remove_the_node_and_the_users_own_list_stays(before: str | None, after: str) -> None:
    annotations = {} if before is None else {SAFE_TO_EVICT: before}
    assert injected(pod(annotations))["metadata"]["annotations"][SAFE_TO_EVICT] == after


AZURE, EKS = SKIP_CONTAINERS


def given_a_token_on_aks(result: Manifest) -> set[str]:
    """The containers that azure-workload-identity v1.6.0 gives the app's token: all that its list does not name."""
    skipped = {name.strip() for name in result["metadata"]["annotations"].get(AZURE, "").split(";")}
    return {each["name"] for each in every_container(result)} - skipped


def given_a_token_on_eks(result: Manifest) -> set[str]:
    """The same of amazon-eks-pod-identity-webhook: the first record of a CSV text, names taken as they are."""
    skipped = next(csv.reader([result["metadata"]["annotations"].get(EKS, "")]), [])
    return {each["name"] for each in every_container(result)} - set(skipped)


def every_container(result: Manifest) -> list[Manifest]:
    return [*result["spec"].get("initContainers", []), *result["spec"]["containers"]]


@pytest.mark.promise("token-only-in-the-sidecar")
@pytest.mark.promise("token-only-in-the-sidecar")
@pytest.mark.parametrize("own", [None, "", "init", "init;two", " init ; o365mailer", "o365mailer", ";", "o365mailer-x"])
def test_the_identity_webhooks_of_aks_and_eks_give_the_sidecar_no_token(own: str | None) -> None:
    annotations = {} if own is None else {AZURE: own, EKS: own.replace(";", ",")}
    manifest = pod(annotations, spec={"initContainers": [{"name": "init", "image": "app"}]})
    for given in (given_a_token_on_aks, given_a_token_on_eks):
        before, after = given(manifest), given(injected(manifest))
        assert after == before, "neither more nor less than without us"
        assert "app" in after
        # The control: what the webhooks would do to our container without the annotation.
        bare = injected(manifest)
        bare["metadata"]["annotations"] = {}
        assert given(bare) == {names.CONTAINER, "init", "app"}


@pytest.mark.parametrize(
    ("own", "after"),
    [(None, "o365mailer"), ("a; b", "a; b;o365mailer"), ("o365mailer;a", "o365mailer;a")],
)
def test_the_users_own_list_of_skipped_containers_stays_as_it_is_written(own: str | None, after: str) -> None:
    annotations = {} if own is None else {AZURE: own, EKS: own.replace(";", ",")}
    result = injected(pod(annotations))["metadata"]["annotations"]
    assert (result[AZURE], result[EKS]) == (after, after.replace(";", ","))


def test_what_was_done_is_written_on_the_pod() -> None:
    metadata = injected(pod(labels={"app": "web"}))["metadata"]
    assert metadata["labels"] == {"app": "web", "o365mailer.dev/mailer": "noreply"}
    assert json.loads(metadata["annotations"]["o365mailer.dev/status"]) == {
        "mailer": "noreply",
        "container": "o365mailer",
        "ports": [25, 587],
        "healthPort": 9025,
    }


def test_587_is_left_to_the_container_that_declares_it_and_the_status_and_a_warning_say_so() -> None:
    manifest = pod(spec=app(ports=[{"containerPort": 587}]))
    answer = verdict(manifest)
    assert isinstance(answer, Patch)
    assert answer.warnings == ("o365mailer: port 587 is left to container app",)
    result = injected(manifest)
    assert environment(sidecar(result))["O365MAILER_LISTEN"] == "127.0.0.1:25,[::1]:25"
    status = json.loads(result["metadata"]["annotations"]["o365mailer.dev/status"])
    assert (status["ports"], status["notes"]) == ([25], ["port 587 is left to container app"])


def test_a_udp_port_of_the_same_number_is_no_clash() -> None:
    ports = [{"containerPort": 25, "protocol": "UDP"}]
    assert sidecar(injected(pod(spec=app(ports=ports))))["name"] == names.CONTAINER


def test_pull_secrets_of_the_installation_are_appended_once() -> None:
    settings = dataclasses.replace(SETTINGS, image_pull_secrets=("mirror", "own"))
    result = injected(pod(spec={"imagePullSecrets": [{"name": "own"}]}), settings=settings)
    assert result["spec"]["imagePullSecrets"] == [{"name": "own"}, {"name": "mirror"}]


def test_image_policy_and_log_level_are_the_installations() -> None:
    settings = dataclasses.replace(SETTINGS, image_pull_policy="Always", log_level="debug")
    container = sidecar(injected(pod(), settings=settings))
    assert (container["image"], container["imagePullPolicy"]) == (SETTINGS.image, "Always")
    assert environment(container)["O365MAILER_LOG_LEVEL"] == "debug"
