"""Real programs, each in every scenario: what arrives, and what they report (docs/apps.md)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from apps import driver, installing, letter, page
from apps.programs import BY_NAME, PROGRAMS, Program
from apps.scenarios import DELIVERED, REFUSED, Scenario
from cluster_rig.errors import MachineLacksError
from support.completeness import lacking
from support.emulator_client import EmulatorClient

pytestmark = pytest.mark.timeout(300)  # the first test of a program installs it


@pytest.fixture(scope="module", params=[program.name for program in PROGRAMS])
def program(request: pytest.FixtureRequest) -> Program:
    """Each program in turn: all of its scenarios use the same sidecar."""
    return BY_NAME[request.param]


@pytest.fixture(scope="module")
def environment(program: Program) -> Mapping[str, str]:
    """What the program needs, installed."""
    try:
        return driver.prepared(program)
    except MachineLacksError as error:
        lacking(str(error), "make setup-node")


@pytest.fixture(scope="module")
def stage(
    environment: Mapping[str, str], fresh_emulator: EmulatorClient, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[driver.Stage]:
    """The sidecars and the emulator."""
    with driver.stage(fresh_emulator, tmp_path_factory.mktemp("apps")) as stage:
        yield stage


@pytest.fixture(scope="module")
def committed() -> page.Results:
    """The results in docs/apps.md."""
    return page.results()


def named(scenario: Scenario) -> str:
    return scenario.name


@pytest.mark.promise("message-unchanged")
@pytest.mark.parametrize("scenario", DELIVERED, ids=named)
def test_mail_arrives_as_the_program_sent_it(
    program: Program,
    scenario: Scenario,
    stage: driver.Stage,
    environment: Mapping[str, str],
    committed: dict[str, Any],
) -> None:
    run = driver.run(program, scenario, stage=stage, environment=environment)
    assert driver.outcome(scenario, run) == committed[program.name][scenario.name], run.text
    assert len(run.sent) == len(run.arrived)
    assert run.logged_in is scenario.login
    for sent, (_, content) in zip(run.sent, run.arrived, strict=True):
        assert driver.unchanged(content, sent)
        subject, text, attached = letter.says(content)
        assert subject == letter.SUBJECT
        assert len(attached) == bool(scenario.attachment)
        assert not attached or attached == [letter.digest(scenario.attachment)]
        assert run.form == "altered" or text.rstrip("\n") == scenario.text.rstrip("\n")


@pytest.mark.promise("docs-show-what-was-measured")
@pytest.mark.parametrize("scenario", REFUSED, ids=named)
def test_the_program_reports_what_the_table_says(
    program: Program,
    scenario: Scenario,
    stage: driver.Stage,
    environment: Mapping[str, str],
    committed: dict[str, Any],
) -> None:
    run = driver.run(program, scenario, stage=stage, environment=environment)
    assert driver.outcome(scenario, run) == committed[program.name][scenario.name], run.text
    assert [recipients for recipients, _ in run.arrived] in ([], list(scenario.arrives))


@pytest.mark.promise("docs-show-what-was-measured")
def test_the_measure_of_patience_notices_a_program_that_gives_up(emulator: EmulatorClient, tmp_path: Path) -> None:
    """The control: curl with a limit gives up, and without one it waits."""
    if lacks := driver.lacks(BY_NAME["curl"]):
        lacking(lacks, "make setup-node")
    (tmp_path / "impatient").write_text(f'#!/bin/sh\nset -- --max-time 2\n. "{installing.SOURCES}/curl/send"\n')
    impatient = dataclasses.replace(BY_NAME["curl"], command=("sh", str(tmp_path / "impatient")))
    with driver.stage(emulator, tmp_path) as stage:
        waited = driver.patience(impatient, stage=stage, environment={}, at_most=30)
        assert waited is not None
        assert driver.patience(BY_NAME["curl"], stage=stage, environment={}, at_most=3) is None
