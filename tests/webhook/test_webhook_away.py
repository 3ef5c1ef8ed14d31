"""With no replica left, only what is annotated and new waits for one."""

import pytest
from support.waiting import eventually
from webhook.examples import app, pod
from webhook.installation import Installation
from webhook.test_api_server_workloads import KEY, Workloads, manifest

from o365mailer_contract import names

PLAIN_PODS = 100


@pytest.mark.promise("other-pods-never-call")
def test_plain_pods_never_reach_the_webhook_and_annotated_ones_wait_for_it(
    installation: Installation, namespace: str
) -> None:
    api = installation.api
    api.create_pod(namespace, pod())
    before = api.webhook_requests()
    with installation.away():
        for number in range(PLAIN_PODS):
            answer = api.create_pod(namespace, {"metadata": {"name": f"plain-{number}"}, "spec": app()}, dry_run=False)
            assert answer.status == 201, answer.message
        assert api.webhook_requests() == before
        refused = api.create_pod(namespace, pod())
        assert refused.status == 500
        assert 'failed calling webhook "pods.admission.o365mailer.dev"' in refused.message
        assert api.webhook_requests()[names.PODS_WEBHOOK] > before[names.PODS_WEBHOOK]
    assert api.create_pod(namespace, pod()).status == 201


@pytest.mark.promise("other-pods-never-call")
@pytest.mark.parametrize("place", ["annotation", "template"])
def test_a_workload_annotated_before_still_updates_and_scales(installation: Installation, place: str) -> None:
    workloads = Workloads(installation)
    workloads.apply(manifest("deployment", **{place: "noreply"}))
    with installation.away():
        before = workloads.generation()
        workloads.run("scale", "deployment", "web", "--replicas=2")
        workloads.apply(manifest("deployment", **{place: "noreply"}, image="app:2"))
        workloads.run("rollout", "restart", "deployment", "web")
        assert workloads.generation() == before + 3
        assert workloads.carried("deployment") == "noreply"
        text = workloads.refused("annotate", "deployment", "web", f"{KEY}=billing", "--overwrite")
        assert 'failed calling webhook "workloads.admission.o365mailer.dev"' in text


def test_pods_that_were_refused_come_when_the_webhook_is_back(installation: Installation) -> None:
    workloads = Workloads(installation)
    with installation.away():
        workloads.apply(manifest("deployment", template="noreply"))
        events = ("--namespace", workloads.namespace, "get", "events", "--field-selector=reason=FailedCreate")
        found = eventually(lambda: workloads.kubectl.json(*events)["items"], "the ReplicaSet's event")
        assert "failed calling webhook" in found[0]["message"]
    select = ("--namespace", workloads.namespace, "get", "pods", "-l", f"{names.MAILER_LABEL}=noreply")
    eventually(lambda: workloads.kubectl.json(*select)["items"], "the injected pod", within=40)
