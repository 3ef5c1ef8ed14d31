"""kubectl and helm, bound to one cluster's kubeconfig and to nothing else of the user's."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


class ClientError(AssertionError):
    """A kubectl or helm call failed; the text is what it said on stderr, which is what a user would see."""


@dataclass(frozen=True, kw_only=True)
class Client:
    """A command-line client of one cluster. Calling it runs it and returns its stdout."""

    program: Path
    kubeconfig: Path
    environ: Mapping[str, str] = field(default_factory=dict)
    """Variables added to ours, such as Helm's own directories."""

    def process(
        self, *arguments: str | Path, stdin: str | None = None, timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Runs it and returns what became of it, whatever that is; for tests that expect a refusal."""
        command = [str(self.program), *map(str, arguments)]
        environ = {**os.environ, **self.environ, "KUBECONFIG": str(self.kubeconfig)}
        return subprocess.run(command, input=stdin, env=environ, capture_output=True, text=True, timeout=timeout)

    def __call__(self, *arguments: str | Path, stdin: str | None = None, timeout: float = 60) -> str:
        """Runs it and returns its stdout.

        Raises:
            ClientError: it ended with another code than 0.
            subprocess.TimeoutExpired: it took longer than `timeout` seconds.
        """
        done = self.process(*arguments, stdin=stdin, timeout=timeout)
        if done.returncode:
            raise ClientError(f"{self.program.name} {' '.join(map(str, arguments))}\n{done.stderr.strip()}")
        return done.stdout

    def json(self, *arguments: str) -> Any:
        """`kubectl … --output json`, decoded."""
        return json.loads(self(*arguments, "--output", "json"))

    def apply(self, *documents: Mapping[str, Any], namespace: str | None = None) -> str:
        """`kubectl apply` of objects given as Python data, in this order."""
        items = {"apiVersion": "v1", "kind": "List", "items": list(documents)}
        where = ("--namespace", namespace) if namespace else ()
        return self(*where, "apply", "--filename", "-", stdin=json.dumps(items))
