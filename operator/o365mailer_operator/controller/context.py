"""What the parts of the controller share."""

from dataclasses import dataclass

from o365mailer_operator.clock import Clock
from o365mailer_operator.controller.cluster import Cluster
from o365mailer_operator.controller.lease import Lease
from o365mailer_operator.controller.metrics import Metrics
from o365mailer_operator.controller.options import Options


@dataclass(frozen=True)
class Context:
    """One process: what it was told, what it talks to, and its clocks."""

    options: Options
    cluster: Cluster
    lease: Lease
    metrics: Metrics
    clock: Clock
