"""Entra's AADSTS codes, as data: what each means here and what to do about it.

Source: Microsoft, "Microsoft Entra authentication and authorization error codes"
(learn.microsoft.com/entra/identity-platform/reference-error-codes), and MSAL's issue threads for 7000216 and 1002012,
which that page does not hold; read 2026-11-23. For federated credentials: issues of Azure/azure-workload-identity,
Azure/login and microsoft/Agents; read 2026-11-28. Microsoft says that the numbers may change. So they decide the words
that we add and the pace of retries, and never whether we accept a token.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Code:
    """One code: its cause and remedy in our words, and how it behaves."""

    number: int
    cause: str
    remedy: str
    transient: bool = False
    """Time heals it."""
    about_credential: bool = False
    """It judges the secret or certificate itself, not the application or the tenant."""
    trusts_by_command: bool = False
    """The remedy ends with the command that adds what Entra misses."""

    @property
    def reason(self) -> str:
        """The condition reason."""
        return f"AADSTS{self.number}"


_SECRET = (
    "Create a new client secret in Entra (App registrations → Certificates & secrets) and put its Value, not its ID, in"
)
_GRANT = "An administrator has to grant it in Entra, or assign the role Application SMTP.SendAsApp in Exchange Online."
_CLOUD = "Set spec.cloud to the cloud of this tenant."
_FEDERATE = (
    "Entra compares letter by letter, with case and a final slash, and takes minutes to learn of a change. Correct the "
    "federated credential in Entra (Certificates & secrets → Federated credentials), or add one."
)
_PUBLISH = (
    "Make the issuer's /.well-known/openid-configuration and the keys that it names readable from the internet, with "
    "a publicly trusted certificate. A private cluster can publish copies of both."
)
_LATER = "Nothing to do: it is tried again."
_POLICY = (
    "Exclude this service principal in Entra's Conditional Access, or allow the address that this cluster leaves from."
)

_TABLE: Final = (
    Code(7000215, "the client secret is not valid", f"{_SECRET} the Secret.", about_credential=True),
    Code(7000222, "the client secret has expired", f"{_SECRET} the Secret.", about_credential=True),
    Code(7000216, "no client secret or assertion arrived", "Check the Secret's key.", about_credential=True),
    Code(7000218, "no client secret or assertion arrived", "Check the Secret's key.", about_credential=True),
    Code(
        700027,
        "the certificate is not registered with the application",
        "Upload tls.crt to the app registration (Certificates & secrets → Certificates).",
        about_credential=True,
    ),
    Code(
        700024,
        "the assertion is outside its validity",
        "Set the clock of this node right, and with a workload identity those of the API servers.",
        transient=True,
        about_credential=True,
    ),
    Code(
        1000502,
        "the certificate has expired",
        "Renew the certificate, and upload the new one to the app registration.",
        about_credential=True,
    ),
    Code(700023, "the assertion is for another authority", f"Check spec.authority.url. {_CLOUD}"),
    Code(700021, "the assertion is for another application", "Check spec.clientId."),
    Code(50027, "the assertion is malformed", "Report this: Entra cannot read the assertion that the credential made."),
    *(
        Code(number, f"{which} of the application", _FEDERATE, trusts_by_command=True)
        for number, which in (
            (70025, "there is no federated credential"),
            (70021, "its issuer, subject and audience are in no federated credential"),
            (700211, "its issuer is in no federated credential"),
            (700212, "its audience is in no federated credential"),
            (7002121, "its audience is in no federated credential"),
            (700213, "its subject is in no federated credential"),
            (7002131, "its subject is in no federated credential"),
            (7002137, "its subject is in no federated credential"),
            (7002138, "its subject differs in upper and lower case from the one in a federated credential"),
        )
    ),
    Code(90061, "Entra cannot fetch the issuer's documents", _PUBLISH),
    Code(50166, "Entra cannot fetch the issuer's documents", _PUBLISH),
    Code(900612, "Entra cannot read the issuer's keys", _PUBLISH),
    Code(
        50013,
        "the signature was not made with a key that the issuer publishes",
        "Publish the present keys of the API server (kubectl get --raw /openid/v1/jwks) at the address that the "
        "issuer's discovery document names. They must be RSA keys. Entra keeps the former ones for a while.",
    ),
    Code(700016, "no application with this client id is in the tenant", "Check spec.clientId and spec.tenantId."),
    Code(7000112, "the application is disabled", "Enable it in Entra (Enterprise applications → Properties)."),
    Code(90002, "the tenant was not found", f"Check spec.tenantId. {_CLOUD}"),
    Code(90038, "the tenant belongs to another national cloud", _CLOUD),
    Code(900382, "the tenant belongs to another national cloud", _CLOUD),
    Code(900432, "the application belongs to another national cloud", _CLOUD),
    Code(500011, "Exchange Online is not a resource of this tenant", f"The tenant needs Exchange Online. {_CLOUD}"),
    Code(650052, "the tenant has no subscription for Exchange Online", "The tenant needs Exchange Online."),
    Code(650057, "the resource is not among the application's permissions", _GRANT),
    Code(70011, "the scope is not valid", _CLOUD),
    Code(28002, "the scope is not valid", _CLOUD),
    Code(1002012, "the scope is not valid for client credentials", _CLOUD),
    Code(65001, "nobody has consented to the application", _GRANT),
    Code(65005, "the application asks for rights that are not granted", _GRANT),
    Code(650056, "the application is misconfigured or lacks consent", _GRANT),
    Code(90094, "an administrator's consent is needed", _GRANT),
    Code(53003, "Conditional Access blocked the application", _POLICY),
    Code(530032, "the tenant's security policy blocked the application", _POLICY),
    Code(530035, "security defaults blocked the application", _POLICY),
    Code(50131, "Conditional Access blocked the application", _POLICY),
    Code(50196, "Entra saw too many equal requests", "Report this: tokens are asked for too often.", transient=True),
    *(
        Code(number, "Entra has a temporary fault", _LATER, transient=True)
        for number in (90055, 90024, 90033, 50033, 50000, 90006, 90012, 90090)
    ),
)

CODES: Final = {code.number: code for code in _TABLE}
"""The table by number."""
