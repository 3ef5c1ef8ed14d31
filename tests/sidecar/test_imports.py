"""The sidecar runs with nothing but what its image carries."""

import subprocess
import sys

PROBE = """
import importlib.abc, sys

class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {BLOCKED}:
            raise ImportError(f"{name} is not in the sidecar's image")

sys.meta_path.insert(0, Blocked())
import MODULE
assert not {BLOCKED} & {name.partition(".")[0] for name in sys.modules}
"""
BLOCKED = (
    "'aiosmtplib', 'email', 'kopf', 'kubernetes', 'msal', 'aiohttp', 'requests', 'cryptography', 'yaml', 'jwt', "
    "'o365mailer_operator'"
)


def imports(module: str) -> subprocess.CompletedProcess[str]:
    """Import a module where these are missing."""
    probe = PROBE.replace("BLOCKED}", BLOCKED + "}").replace("MODULE", module)
    return subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, timeout=60)


def test_the_sidecar_needs_neither_kubernetes_nor_msal() -> None:
    ended = imports("o365mailer_sidecar.main")
    assert ended.returncode == 0, ended.stderr


def test_the_block_works() -> None:
    """The control."""
    assert "is not in the sidecar's image" in imports("o365mailer_operator.token").stderr + imports("kopf").stderr
