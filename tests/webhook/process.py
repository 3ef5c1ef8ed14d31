"""The real `o365mailer-webhook` as a process."""

import sys
import urllib.request
from pathlib import Path
from typing import Any

from support.process import Process
from support.waiting import eventually

COMMAND = Path(sys.executable).with_name("o365mailer-webhook")


class WebhookProcess(Process):
    """One replica."""

    def __init__(self, directory: Path, *arguments: str, listen: int = 0, **environment: str) -> None:
        command = [
            str(COMMAND),
            f"--listen=127.0.0.1:{listen}",
            "--health=127.0.0.1:0",
            "--image=registry.example/o365mailer-sidecar:test",
            f"--ca-directory={directory}",
            "--service-name=o365mailer-webhook",
            "--service-namespace=o365mailer-system",
            "--extra-names=127.0.0.1,localhost",
            "--drain=0s",
            *arguments,
        ]
        super().__init__(command, environment=environment)

    @property
    def ports(self) -> dict[str, int]:
        """`admission` and `health`, once it has opened them."""
        return {
            name: int(line["address"].rpartition(":")[2])
            for name in ("admission", "health")
            for line in self.logged(f"{name} port open")
        }

    def wait_ready(self) -> None:
        """Returns when /readyz says 200, and the log has been read up to both ports."""
        eventually(lambda: len(self.ports) == 2 and self.health("/readyz")[0] == 200, "the webhook is ready")

    def health(self, path: str) -> tuple[int, str]:
        """Status and body of a request to the health port."""
        url = f"http://127.0.0.1:{self.ports['health']}{path}"
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def logged(self, message: str) -> list[dict[str, Any]]:
        """The log lines with this message."""
        return [line for line in self.log if line["message"] == message]
