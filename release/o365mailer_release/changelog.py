"""The section of a version in CHANGELOG.md: the text of its release."""

import re

from o365mailer_release.errors import ReleaseError


def section(changelog: str, version: str) -> str:
    """What is below the heading `## VERSION - DATE`, up to the next one.

    Raises:
        ReleaseError: there is no such section, or it is empty.
    """
    found = re.search(rf"^## {re.escape(version)} - .*?\n(.*?)(?=^## |\Z)", changelog, re.MULTILINE | re.DOTALL)
    text = found[1].strip() if found else ""
    if not text:
        raise ReleaseError(f"CHANGELOG.md says nothing below a heading `## {version} - DATE`: write what users get")
    return text + "\n"
