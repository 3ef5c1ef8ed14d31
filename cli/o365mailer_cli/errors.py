"""The errors that end the command with a message, as one tree::

CliError                  the text says what is wrong, where, and how to fix it
├── WrongInput            exit 2: the user has to change a file, a Secret or a flag (also ValueError)
│   ├── WrongFlag         the relay refuses a flag; `flag` names it
│   ├── WrongFile         the mailer's file cannot be read, is not YAML, or is not a mailer
│   ├── WrongSecret       a Secret that the mailer names cannot be used
│   └── WrongKubeconfig   there is no kubeconfig, or it cannot be used
├── ClusterError          exit 2: a request to the API server failed
│   ├── Absent            there is no such object, or no such kind (also LookupError)
│   ├── Forbidden         the user has no right to do this, or is not logged in (also PermissionError)
│   ├── Unavailable       no answer, or "not now" (also ConnectionError)
│   └── Refused           exit 1: the API server or a webhook did not take the object (also ValueError)
│       └── Conflict      the object exists, or has changed since it was read
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


class WrongKubeconfig(WrongInput):
    """There is no kubeconfig, or it cannot be used."""


class ClusterError(CliError):
    """A request to the API server failed. The text never quotes what was sent."""

    exit_code = 2


class Absent(ClusterError, LookupError):
    """404. `kind_missing`: the API server does not serve the kind at all."""

    def __init__(self, text: str, *, kind_missing: bool = False) -> None:
        super().__init__(text)
        self.kind_missing = kind_missing


class Forbidden(ClusterError, PermissionError):
    """401 or 403."""


class Unavailable(ClusterError, ConnectionError):
    """No connection, a timeout, 429, or 5xx."""


class Refused(ClusterError, ValueError):
    """Every other 4xx: the object is invalid, or an admission webhook, a policy or a quota is against it."""

    exit_code = 1


class Conflict(Refused):
    """409."""


class RelayFailed(CliError):
    """The relay could not start, or ended by itself."""
