"""`python -m benchmarks.admission`: what the webhook adds to the creation of annotated pods, on a real API server.

The chart's objects, commands and environments (installation.py): the controller keeps the webhook's authority, and one
replica of the webhook answers for all pods. With two replicas, a Service would share them out. The same pods without
the annotation, which the API server never asks the webhook about, are created in turn with them.
"""

import argparse
import asyncio
import contextlib
import copy
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Final

from benchmarks.installation import USER, Installation, Replica  # the path of tests and rig comes with it

# isort: split
from chart.release import NAMESPACE, of_kind
from support.mounted_directory import MountedDirectory

from benchmarks.api import Api, Call, Refused
from benchmarks.audit import AuditedControlPlane
from benchmarks.progress import tell
from benchmarks.results import ADMISSION, Results
from benchmarks.table import ADMISSION_LINES, OPERATOR, percentile_99, reported

ANNOTATION: Final = "o365mailer.dev/inject"
APPS: Final = "apps"
"""The namespace of the pods."""
PODS: Final = f"/api/v1/namespaces/{APPS}/pods"
DRY: Final = f"{PODS}?dryRun=All"
"""Everything but the write to etcd."""
CA: Final = "o365mailer-webhook-ca"

APP: Final = {
    "image": "registry.example/app:1",
    "env": [{"name": f"SETTING_{number}", "value": f"the value of {number}"} for number in range(40)],
    "livenessProbe": {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 10},
    "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
}
SPEC: Final = {"schedulerName": "none", "containers": [{"name": "app", **APP}, {"name": "worker", **APP}]}
"""No scheduler has that name, so that none looks at pods for which there is no node."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """What a run measures."""

    rounds: int
    """With the webhook, and as many without."""
    per_second: int
    seconds: float
    """For which pods are created at this rate, a round."""
    at_once: int
    bursts: int
    """A round."""
    pods: int
    mailers: int


FULL: Final = Size(rounds=5, per_second=100, seconds=10, at_once=50, bursts=5, pods=5000, mailers=200)
QUICK: Final = Size(rounds=1, per_second=20, seconds=1, at_once=5, bursts=1, pods=20, mailers=5)


@dataclass(frozen=True, kw_only=True)
class Stand:
    """An API server that asks a webhook."""

    size: Size
    results: Results
    api: Api
    webhook: Replica
    refused: list[str] = field(default_factory=list)
    """Why pods were refused, each a failed call of the webhook."""

    def add(self, measure: str, found: float) -> None:
        """Add a figure."""
        self.results.add(measure, OPERATOR, found)
        tell(f"  {measure}: {found:,.2f}")

    def compare(self, measure: str, times: dict[bool, list[float]]) -> None:
        """Add what the webhook adds to the median and the 99th percentile, in milliseconds."""
        for words, of in (("median", median), ("99th percentile", percentile_99)):
            self.add(f"{measure}: {words} without the webhook (ms)", of(times[False]))
            self.add(f"{measure}: {words} added (ms)", of(times[True]) - of(times[False]))


@contextlib.asynccontextmanager
async def standing(folder: Path, size: Size, results: Results) -> AsyncIterator[Stand]:
    """An API server that asks a webhook, which it trusts."""
    with contextlib.ExitStack() as stack:
        plane = stack.enter_context(AuditedControlPlane(directory=folder / "plane", user=USER))
        installation = Installation(plane)
        controller = stack.enter_context(installation.controller("o365mailer-controller-0"))
        controller.wait_for("leading")
        async with Api(plane.kubeconfig) as api:
            mount = MountedDirectory(folder / "authority")
            mount.swap_secret((await _found(api, f"/api/v1/namespaces/{NAMESPACE}/secrets/{CA}"))["data"])
            webhook = stack.enter_context(installation.webhook("o365mailer-webhook-0", authority=mount.path))
            port = webhook.wait_for("admission port open")["address"].rpartition(":")[2]
            installation.apply(*_reached_by_url(installation, f"https://127.0.0.1:{port}"))
            await api.request("POST", "/api/v1/namespaces", {"metadata": {"name": APPS}})
            await _found(api, f"/api/v1/namespaces/{APPS}/serviceaccounts/default")
            await _trusted(api)
            yield Stand(size=size, results=results, api=api, webhook=webhook)


async def rate(stand: Stand) -> None:
    """Pods at a rate, each at its time whether or not the others have been answered."""
    times: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(stand.size.rounds):
        for annotated in (False, True):
            times[annotated] += await _at_rate(stand, _pod("app", annotated=annotated))
    stand.compare("pods at a rate", times)


async def burst(stand: Stand) -> None:
    """Many pods at the same moment."""
    times: dict[bool, list[float]] = {True: [], False: []}
    await _at_once(stand, annotated=False)  # our connections to the API server are kept from here on
    for _ in range(stand.size.rounds * stand.size.bursts):
        for annotated in (False, True):
            times[annotated] += await _at_once(stand, annotated=annotated)
            await asyncio.sleep(0.2)
    stand.compare("pods at once", times)


async def many(stand: Stand) -> None:
    """Pods of many mailers, which the API server stores."""
    size = stand.size
    used, began = stand.webhook.processor_seconds(), time.monotonic()
    pods = (_pod(f"app-{number}", mailer=f"mailer-{number % size.mailers}") for number in range(size.pods))
    injected = await stand.api.all((Call("POST", PODS, pod) for pod in pods), keep=_injected, refused=stand.refused)
    assert all(injected), f"{injected.count(False)} pods have no sidecar"
    stand.add("many pods: processor time of the webhook (s)", stand.webhook.processor_seconds() - used)
    stand.add("many pods: memory of the webhook (MiB)", stand.webhook.memory("VmHWM"))
    stand.add("many pods: created after (s)", time.monotonic() - began)


ROWS: Final = {"rate": rate, "burst": burst, "many": many}


async def _at_rate(stand: Stand, pod: Any) -> list[float]:
    began, running = time.monotonic(), []
    for number in range(int(stand.size.per_second * stand.size.seconds)):
        await asyncio.sleep(max(0.0, began + number / stand.size.per_second - time.monotonic()))
        running.append(asyncio.create_task(_timed(stand, pod)))
    return await asyncio.gather(*running)


async def _at_once(stand: Stand, *, annotated: bool) -> list[float]:
    pod = _pod("app", annotated=annotated)
    return await asyncio.gather(*(_timed(stand, pod) for _ in range(stand.size.at_once)))


async def _timed(stand: Stand, pod: Any) -> float:
    """Milliseconds until the answer to a pod that is not stored."""
    began = time.perf_counter()
    try:
        await stand.api.request("POST", DRY, pod)
    except Refused as error:
        stand.refused.append(str(error))
    return 1000 * (time.perf_counter() - began)


def _pod(name: str, *, mailer: str = "noreply", annotated: bool = True) -> Any:
    """A pod of a usual size, 6 KB of JSON."""
    annotations = {ANNOTATION if annotated else "example.com/inject": mailer}
    return {"metadata": {"name": name, "labels": {"app": name}, "annotations": annotations}, "spec": SPEC}


def _injected(pod: Any) -> bool:
    return any(each["name"] == "o365mailer" for each in pod["spec"].get("initContainers", []))


def _reached_by_url(installation: Installation, base: str) -> Iterable[Any]:
    """The chart's configurations, for a webhook that no Service leads to."""
    for configuration in of_kind(installation.objects, "MutatingWebhookConfiguration"):
        changed = copy.deepcopy(configuration)
        for webhook in changed["webhooks"]:
            webhook["clientConfig"] = {"url": base + webhook["clientConfig"]["service"]["path"]}
        yield changed


async def _found(api: Api, path: str) -> Any:
    """An object, once it is there."""
    for _ in range(300):
        with contextlib.suppress(Refused):
            return await api.request("GET", path)
        await asyncio.sleep(0.1)
    raise AssertionError(f"{path} is not there")


async def _trusted(api: Api) -> None:
    """Returns once annotated pods are injected: the authority is in the configuration, and the API server knows."""
    for _ in range(600):
        with contextlib.suppress(Refused):
            if _injected(await api.request("POST", DRY, _pod("app"))):
                return
        await asyncio.sleep(0.1)
    raise AssertionError("the webhook is not asked")


async def measure(size: Size, chosen: Iterable[str], results: Results) -> None:
    """Add the figures of these rows, and name those that cannot be measured.

    Each row has an API server of its own: one that keeps 5,000 pods answers late while it collects garbage.
    """
    refused: list[str] = []
    for name in chosen:
        tell(f"{name} ...")
        results.conditions[name] = {}
        with tempfile.TemporaryDirectory(prefix="o365mailer-bench-") as folder:
            try:
                async with standing(Path(folder), size, results) as stand:
                    try:
                        await ROWS[name](stand)
                    finally:
                        refused += stand.refused
            except Exception as error:  # noqa: BLE001  # whatever it is, the next row is measured
                results.miss(name, error)
    for words in sorted(set(refused)):
        tell(words)
    results.add("pods refused", OPERATOR, len(refused))


def main() -> int:
    """0 if everything was measured, or else 1."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.admission", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a moment of everything: that it runs; writes nothing")
    parser.add_argument("--only", metavar="ROW", action="append", choices=[*ROWS], help=f"of {', '.join(ROWS)}")
    parser.add_argument("--save", action="store_true", help="keep the figures for docs/benchmarks.md (--page makes it)")
    given = parser.parse_args()
    if given.save and given.quick:
        parser.error("--save keeps the figures of a full run")
    size = QUICK if given.quick else FULL
    results = Results(conditions={"admission": vars(size)})
    with reported(results, ADMISSION_LINES, into=ADMISSION if given.save else None):
        asyncio.run(measure(size, given.only or ROWS, results))
    return bool(results.missing)


if __name__ == "__main__":
    sys.exit(main())
