"""What ends `o365mailer run` with a message, as one tree::

CliError                  the text says what is wrong, where, and how to fix it
├── WrongInput            exit 2: a file, a Secret or a flag; nothing heals it but its writer (also ValueError)
│   ├── WrongFlag         the relay refuses a flag that it was given; `flag` names it
│   ├── WrongFile         the mailer's file cannot be read, is no YAML, or is no mailer
│   └── WrongSecret       a Secret that the mailer names cannot be used
└── RelayFailed           exit 1: the relay could not start, or ended by itself
"""


class CliError(Exception):
    """Ends the command with `exit_code`."""

    exit_code = 1


class WrongInput(CliError, ValueError):
    """What the user gave cannot be used."""

    exit_code = 2


class WrongFlag(WrongInput):
    """The relay's own words, which begin with the flag and a colon."""

    @property
    def flag(self) -> str:
        """`--spool-dir`."""
        return str(self).partition(":")[0]


class WrongFile(WrongInput):
    """The mailer's file."""


class WrongSecret(WrongInput):
    """A Secret of the mailer."""


class RelayFailed(CliError):
    """The relay's process."""
