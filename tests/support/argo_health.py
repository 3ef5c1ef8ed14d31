"""Argo CD's health check of a mailer: the script that docs/install.md gives, run by the Lua that Argo CD has (5.1)."""

import re
from pathlib import Path
from typing import Any

import yaml
from lupa.lua51 import LuaRuntime

_INSTALL = Path(__file__).parents[2] / "docs" / "install.md"
_KEY = "resource.customizations.health.o365mailer.dev_O365Mailer"


def script() -> str:
    """The text that a user copies into argocd-cm."""
    (block,) = re.findall(
        rf"^```yaml\n(data:\n  {re.escape(_KEY)}: .*?)^```$", _INSTALL.read_text(), re.MULTILINE | re.DOTALL
    )
    return str(yaml.safe_load(block)["data"][_KEY])


def health(manifest: dict[str, Any]) -> tuple[str, str]:
    """The status and the message that Argo CD shows for an object."""
    lua = LuaRuntime(unpack_returned_tuples=True)
    lua.globals().obj = _table(lua, manifest)
    found = lua.execute(script())
    return found.status, found.message


def _table(lua: LuaRuntime, value: Any) -> Any:
    """As Argo CD hands an object over: objects and arrays are tables, numbers are floating point."""
    if isinstance(value, dict):
        return lua.table_from({key: _table(lua, each) for key, each in value.items()})
    if isinstance(value, list):
        return lua.table_from([_table(lua, each) for each in value])
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value
