"""A commit is as green tomorrow as it is today: nothing random in the tests depends on the date or on chance."""

import os
from pathlib import Path

import pytest
from hypothesis import settings
from support.seeds import RANDOM, VARIABLE, committed_tree, seed_of


def test_the_seed_follows_from_the_commit() -> None:
    assert seed_of({}, tree="one") == seed_of({}, tree="one")
    assert seed_of({}, tree="one") != seed_of({}, tree="two")


def test_a_run_can_be_had_again_and_another_each_time() -> None:
    assert seed_of({VARIABLE: "7"}, tree="one") == 7
    assert len({seed_of({VARIABLE: RANDOM}, tree="one") for _ in range(5)}) > 1


def test_there_is_a_seed_without_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert committed_tree(tmp_path) == ""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert committed_tree(Path(__file__).parent) == ""


def test_hypothesis_takes_the_same_examples_unless_told_otherwise() -> None:
    assert settings().derandomize is (os.environ.get(VARIABLE) != RANDOM)
