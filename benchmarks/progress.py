"""What a run tells while it measures."""

import sys


def tell(text: str) -> None:
    """Report progress on standard error; the table goes to standard output."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
