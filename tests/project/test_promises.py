"""The check of the promises complains when it should."""

import pathlib

import promises

DOCUMENT = """
| R1 | Nothing is lost. |
| R2 | Nothing is doubled. |

- R2: the spool comes later
"""


def test_a_tested_promise_and_a_listed_one_are_in_order() -> None:
    assert promises.complaints(DOCUMENT, {"R1": "tests/test_a.py"}, DOCUMENT) == []


def test_a_promise_without_a_test_is_named() -> None:
    assert promises.complaints(DOCUMENT, {}, DOCUMENT) == [
        "R1 has neither a test marked with it nor a line under 'Not built yet'"
    ]


def test_a_tested_promise_leaves_the_list() -> None:
    tests = {"R1": "tests/test_a.py", "R2": "tests/test_b.py"}
    assert promises.complaints(DOCUMENT, tests, DOCUMENT) == [
        "R2 is tested by tests/test_b.py: take it out of 'Not built yet'"
    ]


def test_a_mark_without_a_promise_is_named() -> None:
    tests = {"R1": "tests/test_a.py", "R9": "tests/test_b.py"}
    assert "tests/test_b.py is marked with R9, which ARCHITECTURE.md does not promise" in promises.complaints(
        DOCUMENT, tests, DOCUMENT
    )


def test_the_list_never_grows_again() -> None:
    grown = DOCUMENT + "- R1: broken for now\n"
    assert "R1 came back to 'Not built yet', which only shrinks" in promises.complaints(grown, {}, DOCUMENT)


def test_marks_are_found_on_functions_and_modules(tmp_path: pathlib.Path) -> None:
    (tmp_path / "test_a.py").write_text("import pytest\npytestmark = pytest.mark.promise('R1', 'R2')\n")
    assert promises.marked(tmp_path) == {"R1": f"{tmp_path.name}/test_a.py", "R2": f"{tmp_path.name}/test_a.py"}
