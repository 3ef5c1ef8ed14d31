"""Where docs/troubleshooting.md says more about what a login check finds. Data."""

from typing import Final

from o365mailer_cli.mailers import reason_link
from o365mailer_contract.names import DOCS
from o365mailer_operator.exchange.result import Fault, LoginResult
from o365mailer_operator.token.errors import TokenError

PAGE: Final = f"{DOCS}/troubleshooting.md"
COMMAND: Final = f"{DOCS}/command.md#check"
NO_WAY: Final = f"{PAGE}#no-way-to-exchange"
NOT_TRUSTED: Final = f"{PAGE}#exchanges-certificate-is-not-trusted"
UNSUCCESSFUL: Final = f"{PAGE}#authentication-unsuccessful"
SWITCHED_OFF: Final = f"{PAGE}#smtp-auth-is-off"
POLICY: Final = f"{PAGE}#a-policy-blocks-the-login"
BUSY: Final = f"{PAGE}#exchange-is-busy"
CLOCK: Final = f"{PAGE}#the-clock-is-wrong"
ENDS: Final = f"{PAGE}#a-credential-ends"
RIGHTS: Final = f"{PAGE}#more-rights-than-needed"
MESSAGE: Final = f"{PAGE}#what-only-a-message-tells"

_BY_REASON: Final = {
    Fault.UNTRUSTED.value: NOT_TRUSTED,
    Fault.WRONG_NAME.value: NOT_TRUSTED,
    Fault.EXPIRED.value: NOT_TRUSTED,
    Fault.NOT_YET_VALID.value: CLOCK,
    "token": UNSUCCESSFUL,
    "smtp-auth-disabled": SWITCHED_OFF,
    "blocked-by-policy": POLICY,
}


def of_login(result: LoginResult) -> str:
    """The section about a failed login."""
    other = BUSY if result.busy else NO_WAY if result.fault else UNSUCCESSFUL
    return _BY_REASON.get(result.reason, other)


def of_token(error: TokenError) -> str:
    """The section about a token that Entra did not give."""
    return reason_link(error.reason)
