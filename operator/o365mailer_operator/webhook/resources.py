"""The sidecar's requests and limits, chosen so that the pod's QoS class stays what it was.

The class decides which pods are evicted first and which may own whole processors, so an injected container must not
change it (kubernetes.io, "Pod Quality of Service Classes"):

- Guaranteed: our requests equal our limits.
- Burstable: the installation's requests and limits, both, because quotas demand them.
- BestEffort, or a pod with pod-level resources: no processor or memory for the sidecar, which shares the pod's. A
  namespace whose quota demands them has no BestEffort pods. A LimitRange gives the sidecar its defaults after us.
- If a LimitRange has just given containers their processor or memory, it gives the sidecar the same after us: the
  installation's values could be below its minimum or break its ratio. Not in a Guaranteed pod.

An annotation of the user's wins over all of this, except that it cannot take Guaranteed away.
"""

import functools
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType
from typing import Final, Literal

from o365mailer_contract import names
from o365mailer_contract.quantities import InvalidQuantity
from o365mailer_operator.webhook.pod import Pod, PodSpec, ResourceRequirements
from o365mailer_operator.webhook.verdict import Reason, Refused

LIMIT_RANGER_ANNOTATION: Final = "kubernetes.io/limit-ranger"
"""The API server notes here what a LimitRange gave the pod's containers, before it calls the webhook."""
QOS_RESOURCES: Final = ("cpu", "memory")
QoS = Literal["Guaranteed", "Burstable", "BestEffort"]

SUFFIXES: Final = {
    "": Fraction(1),
    **{suffix: Fraction(1, 1000**power) for power, suffix in enumerate(("m", "u", "n"), start=1)},
    **{suffix: Fraction(1000**power) for power, suffix in enumerate("kMGTPE", start=1)},
    **{suffix + "i": Fraction(1024**power) for power, suffix in enumerate("KMGTPE", start=1)},
}
QUANTITY: Final = re.compile(r"\+?(\d{1,30}(?:\.\d{0,30})?|\.\d{1,30})([A-Za-z]{0,2}|[eE][+-]?\d{1,2})", re.ASCII)
"""Because repeats are bounded, a hostile annotation costs no more than a few microseconds."""


@dataclass(frozen=True, kw_only=True)
class Amounts:
    """Requests and limits: resource name → quantity."""

    requests: Mapping[str, str]
    limits: Mapping[str, str]

    def named(self) -> tuple[str, ...]:
        """The resources with a request or a limit."""
        return tuple(dict.fromkeys((*self.requests, *self.limits)))


DEFAULTS: Final = Amounts(
    requests=MappingProxyType({"cpu": "10m", "memory": "64Mi"}),
    limits=MappingProxyType({"cpu": "250m", "memory": "256Mi"}),
)
"""The requests are low, because a sidecar is nearly always idle. The limits leave room for a start within two seconds
and for three large messages at once. No ephemeral-storage: a container that exceeds its limit gets the pod evicted."""


@functools.lru_cache(maxsize=1024)
def amount(text: str | int | float) -> Fraction:
    """A Kubernetes quantity by its value: `"250m"` → 1/4. Never negative.

    Most pods have the same few, and a Fraction is slow to make, so they are remembered. Each is short (QUANTITY).

    The grammar is that of k8s.io/apimachinery/pkg/api/resource: a decimal number and a suffix or an exponent.

    Raises InvalidQuantity.
    """
    match = QUANTITY.fullmatch(str(text))
    if match is None:
        raise InvalidQuantity(f"{text!r} is not a quantity")
    number, suffix = match.groups()
    if suffix in SUFFIXES:
        return Fraction(number.rstrip(".")) * SUFFIXES[suffix]
    if re.fullmatch(r"[eE][+-]?\d{1,2}", suffix):
        return Fraction(number.rstrip(".")) * Fraction(10) ** int(suffix[1:])
    raise InvalidQuantity(f"{text!r} has an unknown unit")


def qos_class(spec: PodSpec) -> QoS:
    """The class that kubelet gives this pod (pkg/apis/core/v1/helper/qos)."""
    wholes = [spec.resources] if _says_something(spec.resources) else [c.resources for c in spec.every_container()]
    if not any(_says_something(part) for part in wholes):
        return "BestEffort"
    return "Guaranteed" if all(_limits_are_requests(part) for part in wholes) else "Burstable"


def limit_range_gives(pod: Pod) -> Collection[str]:
    """The resources that a LimitRange gave containers of this pod, from the note of the API server's plugin
    (plugin/pkg/admission/limitranger: "LimitRanger plugin set: cpu, memory request for container app; …").

    A user can write this annotation too, so no regular expression searches it: that could take minutes for 100 KB.
    """
    _, _, note = (pod.metadata.annotation(LIMIT_RANGER_ANNOTATION) or "").partition(": ")
    given = set()
    for part in note.split("; "):
        for kind in (" request for ", " limit for "):
            resources, found, _ = part.partition(kind)
            given |= set(resources.split(", ")) if found else set()
    return given


def choose_resources(
    spec: PodSpec, annotated: Mapping[tuple[str, str], str], *, defaults: Amounts, given: Collection[str] = ()
) -> Amounts:
    """The sidecar's resources in this pod.

    `annotated` is what its annotations say, `given` the names of the resources that a LimitRange gives it.

    Raises Refused.
    """
    qos = qos_class(spec)
    shares = qos == "BestEffort" or _says_something(spec.resources)
    usual = {name: (defaults.requests.get(name), defaults.limits.get(name)) for name in defaults.named()}
    if qos != "Guaranteed":
        usual = {name: pair for name, pair in usual.items() if name not in given}
    if shares:
        usual = {name: pair for name, pair in usual.items() if name not in QOS_RESOURCES}
    elif qos == "Guaranteed":
        usual |= {name: _equal(usual.get(name, (None, None)), name) for name in QOS_RESOURCES}
    requests: dict[str, str] = {}
    limits: dict[str, str] = {}
    for name in dict.fromkeys((*usual, *(name for _, name in annotated))):
        pair = (annotated.get(("requests", name)), annotated.get(("limits", name)))
        guaranteed = qos == "Guaranteed" and not shares and name in QOS_RESOURCES
        request, limit = _merge(pair, usual.get(name, (None, None)), name, guaranteed=guaranteed)
        if request is not None:
            requests[name] = request
        if limit is not None:
            limits[name] = limit
    return Amounts(requests=requests, limits=limits)


Pair = tuple[str | None, str | None]
"""A request and a limit."""


def _equal(pair: Pair, name: str) -> Pair:
    one = pair[1] or pair[0] or DEFAULTS.limits[name]
    return one, one


def _merge(annotated: Pair, usual: Pair, name: str, *, guaranteed: bool) -> Pair:
    request, limit = annotated
    if request is None and limit is None:
        return usual
    if request is not None and limit is not None:
        _check(request, limit, name, guaranteed=guaranteed)
        return annotated
    if guaranteed:
        one = request or limit
        return one, one
    if request is not None:
        return request, _larger(usual[1], request)
    return _smaller(usual[0], limit), limit


def _larger(usual: str | None, said: str) -> str | None:
    return said if usual is not None and amount(usual) < amount(said) else usual


def _smaller(usual: str | None, said: str | None) -> str | None:
    return said if usual is not None and said is not None and amount(usual) > amount(said) else usual


def _check(request: str, limit: str, name: str, *, guaranteed: bool) -> None:
    which = f"annotation {names.GROUP}/{name}-request is {request!r} and {names.GROUP}/{name}-limit is {limit!r}"
    if amount(request) > amount(limit):
        raise Refused(
            Reason.REQUEST_ABOVE_LIMIT,
            f"{which}: the request must not be above the limit; lower the one or raise the other",
        )
    if guaranteed and amount(request) != amount(limit):
        raise Refused(
            Reason.QOS_WOULD_CHANGE,
            f"{which}, which would take QoS class Guaranteed from this pod: set both to the same, or only one of them",
        )


def _says_something(part: ResourceRequirements | None) -> bool:
    if part is None:
        return False
    amounts = [(part.requests or {}).get(name, "0") for name in QOS_RESOURCES]
    amounts += [(part.limits or {}).get(name, "0") for name in QOS_RESOURCES]
    return any(_stated(each) for each in amounts)


def _stated(text: str | int | float) -> Fraction:
    """An amount in the pod itself; 0 for an invalid one, which the API server refuses after our answer."""
    try:
        return amount(text)
    except InvalidQuantity:
        return Fraction(0)


def _limits_are_requests(part: ResourceRequirements | None) -> bool:
    limits = (part.limits if part else None) or {}
    requests = (part.requests if part else None) or {}
    return all(
        name in limits and _stated(limits[name]) and _stated(requests.get(name, limits[name])) == _stated(limits[name])
        for name in QOS_RESOURCES
    )
