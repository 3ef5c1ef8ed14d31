"""The mailer directory changes as a whole: a reader sees the old files or the new ones."""

import datetime
import os
import resource
import signal
from pathlib import Path

import pytest

from o365mailer_cli.run.swap import SwappedDirectory, kept_directory

NOW = datetime.datetime(2026, 11, 23, 12, 0, tzinfo=datetime.UTC)


@pytest.fixture
def directory(tmp_path: Path) -> SwappedDirectory:
    return SwappedDirectory(tmp_path)


def test_files_are_read_by_their_names(directory: SwappedDirectory) -> None:
    directory.replace({"access_token": b"one", "mailer.json": b"{}"}, now=NOW)

    assert (directory.path / "access_token").read_bytes() == b"one"
    assert (directory.path / "access_token").readlink() == Path("..data/access_token")


@pytest.mark.promise("run-without-kubernetes")
def test_a_reader_that_holds_the_old_version_keeps_a_whole_one(directory: SwappedDirectory) -> None:
    directory.replace({"access_token": b"one", "mailer.json": b"1"}, now=NOW)
    held = os.open(directory.path / "..data", os.O_RDONLY)
    reading = os.open("access_token", os.O_RDONLY, dir_fd=held)

    directory.replace({"access_token": b"two", "mailer.json": b"2"}, now=NOW)

    assert os.read(reading, 10) == b"one"
    assert (directory.path / "access_token").read_bytes() == b"two"
    assert (directory.path / "mailer.json").read_bytes() == b"2"
    os.close(reading)
    os.close(held)


def test_only_the_newest_version_stays(directory: SwappedDirectory) -> None:
    for content in (b"one", b"two", b"three"):
        directory.replace({"access_token": content}, now=NOW)

    versions = [path for path in directory.path.iterdir() if path.is_dir() and not path.is_symlink()]
    assert [path.name.startswith("..2026_11_23_12_00_00.") for path in versions] == [True]


def test_a_file_that_is_no_longer_there_loses_its_name(directory: SwappedDirectory) -> None:
    directory.replace({"access_token": b"one", "ca.crt": b"ca"}, now=NOW)
    directory.replace({"access_token": b"two"}, now=NOW)

    assert not os.path.lexists(directory.path / "ca.crt")
    assert (directory.path / "access_token").read_bytes() == b"two"


def test_what_a_user_keeps_there_is_left_alone(directory: SwappedDirectory) -> None:
    (directory.path / "README").write_text("mine")
    directory.replace({"access_token": b"one"}, now=NOW)

    assert (directory.path / "README").read_text() == "mine"


def test_a_plain_file_in_the_way_is_replaced(directory: SwappedDirectory) -> None:
    (directory.path / "access_token").write_text("by hand")
    directory.replace({"access_token": b"one"}, now=NOW)

    assert (directory.path / "access_token").read_bytes() == b"one"


def test_a_swap_that_was_cut_off_is_taken_up(directory: SwappedDirectory) -> None:
    (directory.path / "..data_tmp").symlink_to("nowhere")
    directory.replace({"access_token": b"one"}, now=NOW)

    assert (directory.path / "access_token").read_bytes() == b"one"


def test_a_kept_directory_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    with kept_directory(tmp_path / "a" / "b") as made:
        assert made.path.stat().st_mode & 0o777 == 0o700
        assert made.revision() == 0


@pytest.mark.promise("run-without-kubernetes")
@pytest.mark.parametrize("name", ["mailer.json", "ca.crt"])
def test_a_failed_write_leaves_no_files(directory: SwappedDirectory, name: str) -> None:
    directory.replace({"access_token": b"one", name: b"{}"}, now=NOW)
    before = sorted(path.name for path in directory.path.iterdir())
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4, limit[1]))
    try:
        for _ in range(3):
            with pytest.raises(OSError, match="File too large"):
                directory.replace({"access_token": b"two", name: b"{    }"}, now=NOW)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, ignored)
    assert sorted(path.name for path in directory.path.iterdir()) == before
    assert (directory.path / "access_token").read_bytes() == b"one"


def test_what_a_killed_run_has_left_is_removed(directory: SwappedDirectory) -> None:
    left = directory.path / "..2026_11_23_11_59_59.abc"
    left.mkdir()
    (left / "access_token").write_bytes(b"half")
    (directory.path / "..mine").mkdir()
    directory.replace({"access_token": b"one"}, now=NOW)
    assert not left.exists()
    assert (directory.path / "..mine").exists()


def test_an_error_of_the_run_is_not_told_as_another_run(tmp_path: Path) -> None:
    with pytest.raises(BlockingIOError, match="the run's own"), kept_directory(tmp_path):
        raise BlockingIOError("the run's own")
