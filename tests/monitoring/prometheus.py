"""Prometheus and promtool as Debian packages them; no configuration of the machine's own is read."""

import json
import shutil
import socket
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from support.completeness import lacking
from support.process import Process
from support.waiting import eventually

ROOT: Final = Path(__file__).parents[2]
ALERTS: Final = ROOT / "charts" / "o365mailer" / "files" / "alerts.yaml"


def program(name: str) -> str:
    """The path of `prometheus` or `promtool`; skips the test where the package is missing."""
    return shutil.which(name) or lacking(f"no {name}", "`make setup-node` installs Debian's package prometheus")


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run promtool to its end."""
    return subprocess.run([program("promtool"), *map(str, arguments)], capture_output=True, text=True, timeout=60)


class Prometheus(Process):
    """A running Prometheus with this configuration."""

    def __init__(self, configuration: Mapping[str, Any], directory: Path) -> None:
        path = directory / "prometheus.yaml"
        path.write_text(json.dumps(configuration), encoding="utf-8")
        self.address = f"127.0.0.1:{_free_port()}"
        command = [program("prometheus"), f"--config.file={path}", f"--storage.tsdb.path={directory / 'series'}"]
        super().__init__([*command, f"--web.listen-address={self.address}", "--log.level=warn"])

    def get(self, path: str, **parameters: str) -> Any:
        """The data of an answer of its API (prometheus.io, "HTTP API")."""
        query = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(f"http://{self.address}/api/v1/{path}?{query}", timeout=10) as answer:
            return json.load(answer)["data"]

    def query(self, expression: str) -> list[Any]:
        """The series that a query has now."""
        return list(self.get("query", query=expression)["result"])

    def wait_until_up(self) -> None:
        """Wait until it answers."""

        def answers() -> bool:
            assert self.process.poll() is None, self.stderr()
            try:
                return bool(self.get("status/runtimeinfo"))
            except OSError:
                return False

        eventually(answers, "Prometheus")


def _free_port() -> int:
    """Prometheus does not say which port it took for port 0."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
