"""Settings in the text of a file, read line by line.

No format is parsed as such: a setting is a name, a separator and a value, as in YAML, JSON, INI, TOML, properties, PHP,
Ruby, Python, XML or a command line. So a file that is broken, huge, deeply nested or not what its name says costs
the same and cannot fail, and each setting has its line. Indentation, braces and sections give the names above it.
Comments are left out.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final

from o365mailer_cli.scan.hosts import microsoft_hosts_in, names_microsoft, whole_host
from o365mailer_cli.scan.setting import Place, Setting

LARGEST_TEXT: Final = 4 * 2**20
"""Characters of a file that are read. A ConfigMap or Secret has at most 1 MiB."""
SAME_LINE: Final = "in the line of the host"
"""Stands for the value of a password that shares its line with the host, as in sasl_passwd."""
_LONG_LINE: Final = 4096
_WINDOW: Final = 1500
_WINDOWS: Final = 64
_DEEPEST: Final = 32

_INTERESTING: Final = re.compile(r"smtp|mail|office365|outlook|relayhost|mx\.microsoft|sasl", re.IGNORECASE)
_VALUE: Final = (
    r"(?P<value>\"{3}[^\"\n]{0,2000}\"{3}|\"(?:[^\"\\\n]|\\.){0,2000}\"?|'(?:[^'\\\n]|\\.){0,2000}'?|\[[A-Za-z0-9.:-]{1,253}\](?::[0-9]{1,5})?"
    r"|[^\s,;\"'{}\[\]()][^\s,;}]{0,2000}|)"
)
_TOKEN: Final = re.compile(
    r"define\(\s{0,8}[\"'](?P<define>[A-Za-z_]\w{0,80})[\"']\s{0,8},\s{0,8}" + _VALUE.replace("value", "defined")
    + r"|<(?P<tag>[A-Za-z][\w.-]{0,80})>(?P<text>[^<\n]{0,2000})</"
    + r"|\b(?:name|key)=\"(?P<attribute>[\w.-]{1,120})\"\s{0,8}(?:value=\"|>)(?P<attributed>[^\"<\n]{0,2000})"
    + r"|(?<!\S)--?(?P<flag>[A-Za-z][\w.-]{0,80})(?:=|[ \t]{1,8}(?!-))" + _VALUE.replace("value", "flagged")
    + r"|(?<![\w.$/@%&-])\[?[\"']?(?P<key>[A-Za-z_][\w.-]{0,120})[\"']?\]?[ \t]{0,8}(?:=>|:=|[:=])(?![/=:~])[ \t]{0,8}"
    + _VALUE
    + r"|(?P<brace>[{}\[\]])"
)  # fmt: skip
_BARE: Final = re.compile(r"\s{0,200}(?:set\s{1,8})?(?P<key>[A-Za-z][\w-]{0,60})\s{1,40}(?P<value>\S{1,2000})\s*")
_NETRC: Final = re.compile(r"\b(?P<key>machine|login|password|account)\s{1,8}(?P<value>\S{1,2000})")
_SASL: Final = re.compile(r"\s{0,8}(?P<host>\[?[A-Za-z0-9.-]{3,253}\]?(?::[0-9]{1,5})?)\s{1,40}\S{1,500}:\S{1,500}\s*")
_SECTION: Final = re.compile(r"\s{0,8}\[{1,2}([\w .:\"'/-]{1,100})\]{1,2}\s*(?:[#;].{0,200})?")
_ITEM: Final = re.compile(r"(\s{0,200})-\s{1,8}")
_COMMENT: Final = re.compile(r"\s*(?:#|;|//|-- |\* |\*/|<%#|rem\s)", re.IGNORECASE)
_TRAILING: Final = re.compile(r"\s(?:#|//)\s.*")
_BLOCKS: Final = (("/*", "*/"), ("<!--", "-->"), ('"""', '"""'), ("'''", "'''"), ("{{/*", "*/}}"), ("{{- /*", "}}"))
_DOCUMENTATION: Final = re.compile(r"readme|notes\.txt|licen[sc]e|changelog|\.(?:md|rst|adoc|html?)$", re.IGNORECASE)
_OPENING: Final = frozenset({"", "|", ">", "|-", ">-", "|+", ">+", "{", "["})


def is_documentation(file: str) -> bool:
    """Whether the file's name says that people read it, not the app."""
    return bool(_DOCUMENTATION.search(file))


def settings_in(text: str, place: Place) -> Iterator[Setting]:
    """The settings of the text, each with its line. Never raises, whatever the text is."""
    if "\0" in text[:8192] or is_documentation(place.file):
        return
    text = text[:LARGEST_TEXT]
    if not _INTERESTING.search(text):
        return
    reader = _Reader(place)
    for number, line in enumerate(text.splitlines(), 1):
        yield from reader.settings(line, number)


@dataclass
class _Reader:
    """What the lines so far say about the next one."""

    place: Place
    section: tuple[str, ...] = ()
    parents: list[tuple[int, str]] = field(default_factory=list)
    """Indentation and name of each open parent; `#n` for an item of a list."""
    block: str = ""
    """What ends the block comment that is open."""

    def settings(self, line: str, number: int) -> Iterator[Setting]:
        """The settings of the next line."""
        if self._is_comment(line) or not line.strip():
            return
        place = replace(self.place, line=number)
        if section := _SECTION.fullmatch(line):
            self.section, self.parents = (section[1].strip(" \"'"),), []
            return
        item = _ITEM.match(line)
        while item:
            self._leave(len(item[1]), item=True)
            self._enter(len(item[1]), f"#{number}")
            line = " " * item.end() + line[item.end() :]
            item = _ITEM.match(line)
        indentation = len(line) - len(line.lstrip())
        self._leave(indentation)
        for part in _windows(_TRAILING.sub("", line)):
            yield from self._pairs(part, indentation, place)

    def _pairs(self, line: str, indentation: int, place: Place) -> Iterator[Setting]:
        if (entry := _SASL.fullmatch(line)) and whole_host(entry["host"]):
            path = (*self._path(), f"#{place.line}")
            yield Setting("smtp host", entry["host"], place, path)
            yield Setting("password", SAME_LINE, place, path)
            return
        inline = _Braces()
        rest, end, named = [], 0, False
        for name, value, (start, stop) in _tokens(line):
            if name is None:
                inline.brace(value)
                continue
            expression = not value and line.startswith("{{", stop)  # of a template; its value is not known here
            plain = "{{" if expression else value.strip("\"'")
            yield Setting(name, plain, place, (*self._path(), *inline.path()))
            if value in _OPENING and not expression:
                if line[stop : stop + 8].lstrip()[:1] in {"{", "["}:
                    inline.expect(name)
                elif not inline.open and line[stop:].strip() in _OPENING:
                    self._enter(indentation, name)
                continue
            named = True
            rest.append(line[end:start])
            end = stop
        for name in inline.path():
            self._enter(indentation, name)
        yield from self._others(" ".join([*rest, line[end:]]), place, named=named)

    def _path(self) -> tuple[str, ...]:
        return (*self.section, *(parent for _, parent in self.parents))

    def _others(self, line: str, place: Place, *, named: bool) -> Iterator[Setting]:
        """What is in the line without a separator: msmtprc, .netrc, sasl_passwd, a host in a script."""
        path = self._path()
        if not named and (bare := _BARE.fullmatch(line)):
            yield Setting(bare["key"], bare["value"].strip("\"'"), place, path)
            return
        entry = (*path, f"#{place.line}")
        if line.lstrip().startswith("machine "):
            for found in _NETRC.finditer(line):
                yield Setting("host" if found["key"] == "machine" else found["key"], found["value"], place, entry)
            return
        for endpoint in microsoft_hosts_in(line) if names_microsoft(line) else ():
            port = f":{endpoint.port}" if endpoint.port else ""
            yield Setting("", f"{endpoint.name}{port}", place, path)

    def _enter(self, indentation: int, name: str) -> None:
        if len(self.parents) < _DEEPEST:
            self.parents.append((indentation, name))

    def _leave(self, indentation: int, *, item: bool = False) -> None:
        """Close the parents that a line with this indentation is not below. An item may have its parent's own."""
        while self.parents:
            depth, name = self.parents[-1]
            if depth < indentation or (item and depth == indentation and not name.startswith("#")):
                return
            self.parents.pop()

    def _is_comment(self, line: str) -> bool:
        stripped = line.strip()
        if self.block:
            if self.block in stripped:
                self.block = ""
            return True
        for start, end in _BLOCKS:
            if stripped.startswith(start):
                if end not in stripped[len(start) :]:
                    self.block = end
                return True
        return bool(_COMMENT.match(line))


@dataclass
class _Braces:
    """The braces and brackets that are open within a line."""

    open: list[str] = field(default_factory=list)
    expected: str = ""

    def expect(self, name: str) -> None:
        """The next opening brace belongs to `name`."""
        self.expected = name

    def brace(self, brace: str) -> None:
        """Open or close one level."""
        if brace in "{[":
            if len(self.open) < _DEEPEST:
                self.open.append(self.expected or "#")
        elif self.open:
            self.open.pop()
        self.expected = ""

    def path(self) -> tuple[str, ...]:
        """The names of the open levels."""
        return tuple(self.open)


def _tokens(line: str) -> Iterator[tuple[str | None, str, tuple[int, int]]]:
    """Each pair of a line as name, value and bounds; a brace as None and the brace."""
    for match in _TOKEN.finditer(line):
        parts = match.groupdict()
        if parts["brace"]:
            yield None, parts["brace"], match.span()
            continue
        for name, value in (
            ("define", "defined"), ("tag", "text"), ("attribute", "attributed"), ("flag", "flagged"), ("key", "value"),
        ):  # fmt: skip
            if parts[name]:
                yield parts[name], parts[value] or "", match.span()
                break


def _windows(line: str) -> Iterator[str]:
    """A line of usual length as it is; of a longer one only the parts around what could be mail."""
    if len(line) <= _LONG_LINE:
        yield line
        return
    end = count = 0
    for found in _INTERESTING.finditer(line):
        if found.start() < end:
            continue
        count += 1
        if count > _WINDOWS:
            return
        start, end = max(end, found.start() - _WINDOW // 3), found.end() + _WINDOW
        yield line[start:end]
