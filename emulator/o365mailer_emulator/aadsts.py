"""Entra's errors: code, OAuth error, HTTP status and text.

Source: learn.microsoft.com "Microsoft Entra authentication and authorization error codes" and public logs of the
v2.0 token endpoint, collected 2026-11-23. Clients decide by ``error`` and, as a hint, by the code. The text is for
people.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any


@dataclass(frozen=True)
class Aadsts:
    """One error of the token endpoint. ``message`` has placeholders such as ``{client}`` and ``{tenant}``."""

    code: int
    error: str
    status: int
    message: str


NO_MATCH = (
    "No matching federated identity record found for presented assertion {}. Check your federated identity credential "
    "Subject, Audience and Issuer against the presented assertion. "
    "https://learn.microsoft.com/entra/workload-id/workload-identity-federation"
)

ENTRIES = (
    Aadsts(
        7000215,
        "invalid_client",
        401,
        "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, "
        "not the client secret ID, for a secret added to app '{client}'.",
    ),
    Aadsts(
        7000222,
        "invalid_client",
        401,
        "The provided client secret keys for app '{client}' are expired. Visit the Azure portal to create new keys for "
        "your app: https://aka.ms/NewClientSecret, or consider using certificate credentials for added security: "
        "https://aka.ms/certCreds.",
    ),
    Aadsts(
        7000216,
        "invalid_client",
        401,
        "'client_assertion', 'client_secret' or 'request' is required for the 'client_credentials' grant type.",
    ),
    Aadsts(
        7000218,
        "invalid_client",
        401,
        "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.",
    ),
    Aadsts(
        700016,
        "unauthorized_client",
        400,
        "Application with identifier '{client}' was not found in the directory '{tenant}'. This can happen if the "
        "application has not been installed by the administrator of the tenant or consented to by any user in the "
        "tenant. You may have sent your authentication request to the wrong tenant.",
    ),
    Aadsts(7000112, "unauthorized_client", 400, "Application '{client}' is disabled."),
    Aadsts(
        90002,
        "invalid_tenant",
        400,
        "Tenant '{tenant}' not found. Check to make sure you have the correct tenant ID and are signing into the "
        "correct cloud. Check with your subscription administrator, this may happen if there are no active "
        "subscriptions for the tenant.",
    ),
    Aadsts(
        90038,
        "invalid_tenant",
        400,
        "Tenant '{tenant}' request is being redirected to the National Cloud 'MicrosoftOnline.US'.",
    ),
    Aadsts(
        900382,
        "invalid_request",
        400,
        "Confidential Client is not supported in Cross Cloud request.",
    ),
    Aadsts(
        700027,
        "invalid_client",
        401,
        "The certificate with identifier used to sign the client assertion is not registered on application. "
        "[Reason - {reason}, Thumbprint of key used by client: '{thumbprint}', Application Id: '{client}'].",
    ),
    Aadsts(
        700024,
        "invalid_client",
        401,
        "Client assertion is not within its valid time range. Current time: {now}, assertion valid from {valid_from}, "
        "expiry time of assertion {valid_to}. Review the documentation at "
        "https://learn.microsoft.com/entra/identity-platform/certificate-credentials.",
    ),
    Aadsts(
        700023,
        "invalid_client",
        401,
        "Client assertion audience claim does not match Realm issuer. Review the documentation at "
        "https://learn.microsoft.com/entra/identity-platform/certificate-credentials.",
    ),
    Aadsts(
        700021,
        "invalid_client",
        401,
        "Client assertion application identifier doesn't match 'client_id' parameter. Review the documentation at "
        "https://learn.microsoft.com/entra/identity-platform/certificate-credentials.",
    ),
    Aadsts(
        70025,
        "invalid_client",
        401,
        "The client '{client}'({name}) has no configured federated identity credentials.",
    ),
    Aadsts(700211, "invalid_client", 401, NO_MATCH.format("issuer '{issuer}'")),
    Aadsts(700212, "invalid_client", 401, NO_MATCH.format("audience '{audience}'")),
    Aadsts(700213, "invalid_client", 401, NO_MATCH.format("subject '{subject}'")),
    Aadsts(
        7002138,
        "invalid_client",
        401,
        "No matching federated identity record found for presented assertion subject '{subject}'. The subject matches "
        "with case-insensitive comparison, but not with case-sensitive comparison. Check your federated identity "
        "credential Subject, Audience and Issuer against the presented assertion. See documentation at: "
        "https://learn.microsoft.com/entra/workload-id/workload-identity-federation. See breaking change notification "
        "and remediation at: "
        "https://learn.microsoft.com/en-us/entra/identity-platform/reference-breaking-changes#august-2024.",
    ),
    Aadsts(  # what Entra answered for each of the three until 2023; some clouds may still do
        70021,
        "invalid_request",
        400,
        "No matching federated identity record found for presented assertion. Assertion Issuer: '{issuer}'. Assertion "
        "Subject: '{subject}'. Assertion Audience: '{audience}'. "
        "https://learn.microsoft.com/entra/workload-id/workload-identity-federation",
    ),
    Aadsts(90061, "invalid_request", 400, "Request to External OIDC endpoint failed."),
    Aadsts(900612, "invalid_request", 400, "Failed to parse provider signing keys."),
    Aadsts(  # the documented code of an invalid assertion; no public log shows the one for another issuer's key
        50013,
        "invalid_client",
        401,
        "Assertion failed signature validation. [Reason - {reason}]",
    ),
    Aadsts(
        1000502,
        "invalid_client",
        401,
        "The provided certificate is not within its specified validity: {valid_from} - {valid_to}.",
    ),
    Aadsts(50027, "invalid_client", 401, "JWT token is invalid or malformed."),
    Aadsts(70003, "unsupported_grant_type", 400, "The app requested an unsupported grant type '{grant}'."),
    Aadsts(
        900144,
        "invalid_request",
        400,
        "The request body must contain the following parameter: '{parameter}'.",
    ),
    Aadsts(
        1002012,
        "invalid_scope",
        400,
        "The provided value for scope {scope} is not valid. Client credential flows must have a scope value with "
        "/.default suffixed to the resource identifier (application ID URI).",
    ),
    Aadsts(
        500011,
        "invalid_resource",
        400,
        "The resource principal named {scope} was not found in the tenant named {tenant}. This can happen if the "
        "application has not been installed by the administrator of the tenant or consented to by any user in the "
        "tenant.",
    ),
    Aadsts(
        50196,
        "invalid_grant",
        400,
        "The server terminated an operation because it encountered a client request loop. Please contact your app "
        "vendor.",
    ),
    Aadsts(
        53003,
        "invalid_grant",
        400,
        "Access has been blocked by Conditional Access policies. The access policy does not allow token issuance.",
    ),
    Aadsts(65001, "invalid_grant", 400, "The user or administrator has not consented to use the application."),
    Aadsts(
        90055,
        "temporarily_unavailable",
        429,
        "The server is terminating an operation because there are too many requests.",
    ),
    Aadsts(90033, "temporarily_unavailable", 503, "A transient error has occurred. Please try again."),
    Aadsts(50000, "server_error", 500, "There was an error issuing a token."),
)

AADSTS = {entry.code: entry for entry in ENTRIES}


def error_document(
    entry: Aadsts, *, values: dict[str, str], now: float, correlation_id: str, trace_id: str, error_base: str
) -> dict[str, Any]:
    """The JSON that Entra answers, with Entra's members, their order and the end of its description."""
    timestamp = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    words = entry.message.format_map(_Known(values))
    return {
        "error": entry.error,
        "error_description": (
            f"AADSTS{entry.code}: {words} Trace ID: {trace_id} Correlation ID: {correlation_id} Timestamp: {timestamp}"
        ),
        "error_codes": [entry.code],
        "timestamp": timestamp,
        "trace_id": trace_id,
        "correlation_id": correlation_id,
        "error_uri": f"{error_base}/error?code={entry.code}",
    }


def correlation(header: str | None, *, fresh: str) -> str:
    """The client's request id if it is a GUID (Entra repeats only those), else ``fresh``."""
    try:
        return str(uuid.UUID(header or ""))
    except ValueError:
        return fresh


class _Known(dict[str, str]):
    """Leaves a placeholder, as ``<name>``, where a scripted error has no value for it."""

    def __missing__(self, key: str) -> str:
        return f"<{key}>"
