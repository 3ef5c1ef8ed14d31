"""The check of words finds a word that we do not write, and only in what a person reads."""

import pytest
from support.words import LIST, complaints

INSTEAD = {"octets?": "byte", "behind": "after"}


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("docs/a.md", "Some octets.\n", ["docs/a.md:1: 'octets': write byte"]),
        ("a.py", '"""Behind it."""\n', ["a.py:1: 'Behind': write after"]),
        ("a.py", "x = 1\n# an octet\n", ["a.py:2: 'octet': write byte"]),
        ("a.py", 'x = "an octet"\n', ["a.py:1: 'octet': write byte"]),
        ("a.py", "octets = send_octets()\n", []),
        ("tests/a.py", 'def f():\n    """An octet."""\n    return "an octet"\n', ["tests/a.py:2: 'octet': write byte"]),
        ("tests/a.py", 'CASES = [\n    "an octet",\n]\n', []),
        ("docs/a.md", "Bytes that come after it.\n", []),
    ],
)
def test_a_word_of_the_list_is_found_in_prose(name: str, text: str, found: list[str]) -> None:
    assert complaints(name, text, INSTEAD) == found


def test_the_list_itself_is_found() -> None:
    assert complaints("words.md", LIST.read_text(encoding="utf-8"), INSTEAD)
