"""HTML that is escaped unless it was built here: the page shows what strangers put into messages."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def tag(name: str, *children: object, **attributes: str) -> Markup:
    """An element. Children that are not Markup are escaped; ``class_`` and ``for_`` lose their underscore."""
    listed = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(value)}"' for key, value in attributes.items()
    )
    return Markup(f"<{name}{listed}>{''.join(map(escaped, children))}</{name}>")


def escaped(child: object) -> Markup:
    """The child as HTML."""
    return child if isinstance(child, Markup) else Markup(html.escape(str(child)))


def joined(parts: Iterable[object]) -> Markup:
    """The parts one after the other."""
    return Markup("".join(map(escaped, parts)))


def table(head: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> Markup:
    """A table that scrolls by itself on a narrow screen; ``empty`` stands where there are no rows."""
    body = [tag("tr", *(tag("td", cell) for cell in row)) for row in rows]
    if not body:
        return tag("p", empty, class_="empty")
    header = tag("thead", tag("tr", *(tag("th", name, scope="col") for name in head)))
    return tag("div", tag("table", header, tag("tbody", *body)), class_="wide")


def facts(pairs: Iterable[tuple[str, object]]) -> Markup:
    """Names with their values."""
    return tag("dl", *(part for name, value in pairs for part in (tag("dt", name), tag("dd", value))))


def document(title: str, *body: object, refresh: int | None = None) -> str:
    """A whole page; ``refresh`` is seconds until the browser asks again, without any script."""
    again = f'<meta http-equiv="refresh" content="{refresh}">' if refresh else ""
    head = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"{again}<title>{html.escape(title)}</title><style>{STYLE}</style></head>"
    )
    return f"{head}{tag('body', *body)}</html>\n"


STYLE = """
:root { color-scheme: light dark; --ink: #1d2733; --soft: #5b6876; --line: #d9dfe5; --paper: #ffffff; --wash: #f4f6f8;
  --accent: #0b5c8f; --warn: #9a4b00; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e9ee; --soft: #9aa7b4; --line: #323c46; --paper: #151b21;
  --wash: #1d252d; --accent: #7cc0ec; --warn: #f0b070; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--wash); color: var(--ink); font: 16px/1.5 system-ui, "Segoe UI", sans-serif; }
header, main, footer { max-width: 72rem; margin: 0 auto; padding: 0 1.5rem; }
header { padding-top: 2.5rem; }
h1 { font-size: 1.75rem; font-weight: 600; letter-spacing: -.01em; margin: 0; }
h2 { font-size: 1.05rem; font-weight: 600; margin: 0 0 .75rem; }
header p, footer, .soft { color: var(--soft); }
header p { margin: .25rem 0 0; max-width: 46rem; }
section { background: var(--paper); border: 1px solid var(--line); border-radius: 8px; padding: 1.25rem 1.5rem;
  margin: 1.25rem 0; }
section.warn { border-left: 4px solid var(--warn); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .925rem; }
th, td { text-align: left; vertical-align: top; padding: .45rem 1rem .45rem 0; border-top: 1px solid var(--line); }
thead th { border-top: 0; color: var(--soft); font-weight: 500; white-space: nowrap; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .3rem 1.5rem; margin: 0; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
code, pre { font: .875rem/1.5 ui-monospace, "Cascadia Mono", Menlo, Consolas, monospace; }
pre { background: var(--wash); border: 1px solid var(--line); border-radius: 6px; padding: 1rem; overflow-x: auto;
  white-space: pre-wrap; overflow-wrap: anywhere; margin: 1rem 0 0; }
a { color: var(--accent); } a:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
.empty { color: var(--soft); margin: 0; }
.wide + h2 { margin-top: 1.25rem; }
footer { padding-bottom: 3rem; font-size: .875rem; }
"""
