"""`o365mailer support-bundle`: writes the bundle to a file that only its owner may read."""

import argparse
import contextlib
import datetime
import io
import os
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Final

from o365mailer_cli.check.asked import Asked
from o365mailer_cli.errors import CliError, WrongInput
from o365mailer_cli.flags import FILE, cluster_flags, name, output_flag
from o365mailer_cli.kubeconfig import Access, connect, namespace_of
from o365mailer_cli.output import Output
from o365mailer_cli.support_bundle.content import files

DESCRIPTION: Final = (
    "Write what a person who helps needs to see into one file: versions, mailers, pods, logs, metrics, and what check "
    "finds. It has no secret, token, mail or address. The README in it says what was left out."
)
LINES: Final = 2000


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("mailer", nargs="?", type=name, metavar="MAILER", help="only this mailer and its pods")
    parser.add_argument(
        "--file", metavar="FILE", help="where to write it (default: o365mailer-support-TIME.tar.gz, here)"
    ).complete = FILE  # type: ignore[attr-defined]  # shtab's own attribute
    parser.add_argument(
        "--log-lines", type=_count, default=LINES, metavar="N", help=f"the newest lines of each log (default {LINES})"
    )
    parser.add_argument(
        "--with-addresses", action="store_true", help="keep the mailers' addresses and domains, without placeholders"
    )
    output_flag(parser)
    cluster_flags(parser, all_namespaces=True)


def main(given: argparse.Namespace, environment: Mapping[str, str]) -> int:
    """Read, and write the file. Raises CliError."""
    cluster = connect(Access.of(given), environment)
    output = Output.of(given)
    namespace = namespace_of(given, cluster)
    now = datetime.datetime.now(datetime.UTC)
    path = Path(given.file or f"o365mailer-support-{now:%Y%m%dT%H%M%SZ}.tar.gz")
    asked = Asked(cluster, namespace, given.mailer)
    with output.progress("reading the cluster"), _written(path) as stream:
        content = files(asked, with_addresses=given.with_addresses, lines=given.log_lines)
        names = pack(stream, dict(content), folder=path.name.removesuffix(".tar.gz"), now=now)
    size = path.stat().st_size
    if output.json:
        output.document({"file": str(path), "bytes": size, "files": names})
    else:
        output.line(
            f"✓ {path} ({size:,} bytes, {len(names)} files). Look through it before you send it.", style="green"
        )
    return 0


def pack(stream: IO[bytes], content: Mapping[str, str], *, folder: str, now: datetime.datetime) -> list[str]:
    """Write the files into a tar.gz, in a folder. Returns their names. Owner and machine are not in it."""
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name_, text in content.items():
            data = text.encode()
            member = tarfile.TarInfo(f"{folder}/{name_}")
            member.size, member.mtime, member.mode = len(data), int(now.timestamp()), 0o600
            archive.addfile(member, io.BytesIO(data))
    return list(content)


@contextlib.contextmanager
def _written(path: Path) -> Iterator[IO[bytes]]:
    """A new file of mode 0600; it is removed if it is not finished. Raises CliError."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise WrongInput(f"{path} exists already. Name another --file, or remove it.") from None
    except OSError as error:
        raise WrongInput(f"{path} cannot be written: {error.strerror}. Name another --file.") from None
    try:
        with os.fdopen(descriptor, "wb") as stream:
            yield stream
    except OSError as error:
        path.unlink(missing_ok=True)
        if isinstance(error, CliError):  # some of ours are OSErrors
            raise
        raise CliError(f"{path} cannot be written: {error.strerror}. Is the disk full?") from None
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 100_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 100000")
    return int(text)
