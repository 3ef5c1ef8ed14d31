"""The links of the documentation lead somewhere; run by `make check`."""

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
LINK = re.compile(r"\]\(([^)\s]+)\)")
OUTSIDE = re.compile(r"[a-z]+:")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
IN_PROGRAMS = re.compile(r"\{DOCS\}/([\w-]+\.md(?:#[\w-]+)?)")
"""A link in a message of the programs."""
CODE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def prose(page: pathlib.Path) -> str:
    """The page without its blocks of code."""
    return CODE.sub("", page.read_text(encoding="utf-8"))


def anchor(heading: str) -> str:
    """As GitHub makes it: lower case, hyphens for spaces, no other punctuation."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def leads_somewhere(page: pathlib.Path, link: str) -> bool:
    """Whether the file is there, and in it the heading."""
    path, _, wanted = link.partition("#")
    target = page.parent / path if path else page
    return target.exists() and (not wanted or wanted in map(anchor, HEADING.findall(prose(target))))


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_every_link_within_the_documentation_leads_somewhere(page: pathlib.Path) -> None:
    links = [link for link in LINK.findall(prose(page)) if not OUTSIDE.match(link)]
    assert [link for link in links if not leads_somewhere(page, link)] == []


def test_every_link_in_a_message_leads_somewhere() -> None:
    sources = [path for package in ("cli", "operator", "sidecar") for path in (ROOT / package).rglob("*.py")]
    links = {link for path in sources for link in IN_PROGRAMS.findall(path.read_text(encoding="utf-8"))}

    assert len(links) > 10
    assert [link for link in sorted(links) if not leads_somewhere(ROOT / "docs" / "any.md", link)] == []


def test_a_link_that_leads_nowhere_is_noticed() -> None:
    assert not leads_somewhere(ROOT / "README.md", "docs/no-such-page.md")
    assert not leads_somewhere(ROOT / "README.md", "CONTRIBUTING.md#no-such-heading")
    assert leads_somewhere(ROOT / "README.md", "CONTRIBUTING.md#habits")
