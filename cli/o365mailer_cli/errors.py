"""The errors that end `o365mailer run` with a message, as one tree::

CliError                  the text says what is wrong, where, and how to fix it
├── WrongInput            exit 2: the user has to change a file, a Secret or a flag (also ValueError)
│   ├── WrongFlag         the relay refuses a flag; `flag` names it
│   ├── WrongFile         the mailer's file cannot be read, is not YAML, or is not a mailer
│   └── WrongSecret       a Secret that the mailer names cannot be used
└── RelayFailed           exit 1: the relay could not start, or ended by itself
"""


class CliError(Exception):
    """Ends the command with `exit_code`."""

    exit_code = 1


class WrongInput(CliError, ValueError):
    """The user's input cannot be used."""

    exit_code = 2


class WrongFlag(WrongInput):
    """The relay refuses a flag. The text is the relay's and begins with the flag and a colon."""

    @property
    def flag(self) -> str:
        """The flag, such as `--spool-dir`."""
        return str(self).partition(":")[0]


class WrongFile(WrongInput):
    """The mailer's file cannot be used."""


class WrongSecret(WrongInput):
    """A Secret of the mailer cannot be used."""


class RelayFailed(CliError):
    """The relay could not start, or ended by itself."""
