"""What `make test-fast` leaves out: the tests that start processes, by whatever way."""

import functools

import pytest
from cluster_rig import images
from support import cluster_fixtures, virtual_time
from support.clocked_sidecar import clocked
from support.emulator_client import EmulatorClient
from support.fast import starts_a_process
from support.sidecar_process import MailerDirectory, running


class Inherited(EmulatorClient):
    """Starts what its base starts."""


def through_a_dictionary() -> object:
    return cluster_fixtures.PREPARATIONS


@functools.cache
def through_a_decorator() -> object:
    return through_a_closure()


def through_a_closure() -> object:
    def inner() -> object:
        return images.build()

    return inner


@pytest.mark.parametrize("value", [running, clocked, Inherited, through_a_dictionary, through_a_decorator])
def test_what_leads_to_a_process_is_found(value: object) -> None:
    assert starts_a_process([value])


@pytest.mark.parametrize("value", [MailerDirectory, virtual_time.run])
def test_what_leads_to_none_is_not(value: object) -> None:
    assert not starts_a_process([value])
