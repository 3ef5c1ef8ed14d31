"""The HTTPS client under MSAL.

MSAL's own client follows redirects with the secret in the body, has no timeout, and lets REQUESTS_CA_BUNDLE replace the
authorities it was given. With a client from its caller, MSAL ignores its own parameters `timeout`, `verify` and
`proxies`, so they are applied here.
"""

import datetime
import email.utils
import ssl
from typing import Any, Final
from urllib.parse import urlsplit

import certifi
import requests
from requests.adapters import HTTPAdapter

from o365mailer_operator.token.answer import Answer, Presented, error_in
from o365mailer_operator.token.endpoints import AllowedHosts
from o365mailer_operator.token.errors import (
    ENTRA_ANSWER_INVALID,
    ENTRA_NOT_TRUSTED,
    ENTRA_UNREACHABLE,
    EntraError,
    TokenError,
)

CONNECT_TIMEOUT: Final = 5.0
"""Seconds for TCP and TLS each."""
LONGEST_ANSWER: Final = 2**20
"""Bytes. Entra's answers have a few KiB; a larger one is something else, or an attack on our memory."""


class Wire:
    """The connections of one token request. MSAL calls `get`, `post` and `close`.

    It checks every address against the allow-list first (discovery names the token endpoint), follows no redirect,
    ignores the environment, and turns every answer but a good one into an error of ours at once.
    """

    def __init__(
        self, *, allowed: AllowedHosts, authorities: str | None, proxy: str | None, timeout: float, presented: Presented
    ) -> None:
        self.allowed = allowed
        self.presented = presented
        self.timeout = timeout
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.proxies = {"https": proxy} if proxy else {}
        self.session.mount("https://", _Adapter(trust_in(authorities)))

    def get(self, url: str, **kwargs: Any) -> Answer:
        """Discovery. Raises TokenError."""
        return self._exchange("GET", url, named_by="spec.authority.url", **kwargs)

    def post(self, url: str, **kwargs: Any) -> Answer:
        """The token request. Raises TokenError."""
        return self._exchange("POST", url, named_by="The authority's discovery document", **kwargs)

    def date(self, url: str) -> datetime.datetime | None:
        """When the host says it is (the header Date, RFC 9110 §6.6.1), whatever else it answers. None without one.

        Raises TokenError if no answer comes.
        """
        value = self._received("GET", url, named_by="spec.authority.url").headers.get("date", "")
        try:
            found = email.utils.parsedate_to_datetime(value)
        except ValueError:
            return None
        return found if found.tzinfo else found.replace(tzinfo=datetime.UTC)

    def close(self) -> None:
        self.session.close()

    def _exchange(self, method: str, url: str, *, named_by: str, **kwargs: Any) -> Answer:
        answer = self._received(method, url, named_by=named_by, **kwargs)
        if problem := error_in(answer, presented=self.presented):
            raise problem
        return answer

    def _received(self, method: str, url: str, *, named_by: str, **kwargs: Any) -> Answer:
        """Any answer, whatever it says. Raises TokenError."""
        self.allowed.check_authority(url, named_by=named_by)
        host = urlsplit(url).netloc
        outcome: Answer | TokenError
        try:
            outcome = self._answer(method, url, host, **kwargs)
        except requests.RequestException as error:
            # Raised below, so that it is not chained: this exception holds the request, and with it the secret.
            outcome = _failure(error, host=host, timeout=self.timeout)
        if isinstance(outcome, Answer):
            return outcome
        raise outcome

    def _answer(self, method: str, url: str, host: str, **kwargs: Any) -> Answer | TokenError:
        with self.session.request(
            method,
            url,
            timeout=(min(CONNECT_TIMEOUT, self.timeout), self.timeout),
            allow_redirects=False,
            stream=True,
            **kwargs,
        ) as response:
            body = bytearray()
            for chunk in response.iter_content(2**14):
                body += chunk
                if len(body) > LONGEST_ANSWER:
                    return EntraError(ENTRA_ANSWER_INVALID, f"{host} answers with more than 1 MiB: that is not Entra.")
            return Answer(
                host=host,
                status_code=response.status_code,
                headers={name.lower(): value for name, value in response.headers.items()},
                text=body.decode(errors="replace"),
            )


class _Adapter(HTTPAdapter):
    """Connections with our TLS context, also through a proxy."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.context = context
        super().__init__(max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, ssl_context=self.context, **kwargs)

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        return super().proxy_manager_for(*args, ssl_context=self.context, **kwargs)

    def cert_verify(self, conn: Any, *_args: Any, **_kwargs: Any) -> None:
        """Here requests would add certifi's authorities to those that we trust."""
        conn.cert_reqs = "CERT_REQUIRED"
        conn.ca_certs = conn.ca_cert_dir = None


def trust_in(authorities: str | None) -> ssl.SSLContext:
    """Trust in exactly these PEM authorities; with None in the system's, and in Mozilla's for images without any.

    Named authorities are private ones, and many of those lack the key identifiers that Python asks for from 3.13 on
    (VERIFY_X509_STRICT). Chain, name and dates are still verified.
    """
    if authorities is not None:
        context = ssl.create_default_context(cadata=authorities)
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        return context
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


def _failure(error: requests.RequestException, *, host: str, timeout: float) -> TokenError:
    if isinstance(error, requests.exceptions.ProxyError):
        return EntraError(
            ENTRA_UNREACHABLE,
            f"The HTTPS proxy did not lead to {host} ({_root(error)}). Check the proxy setting; it is tried again.",
        )
    if isinstance(error, requests.exceptions.SSLError):
        return EntraError(
            ENTRA_NOT_TRUSTED,
            f"The TLS certificate of {host} is not trusted ({_root(error)}). If a proxy inspects TLS, or for a private "
            "authority, name its CA in spec.authority.ca.",
        )
    if isinstance(error, requests.exceptions.Timeout):
        return EntraError(
            ENTRA_UNREACHABLE,
            f"{host} did not answer within {timeout:g} s. Check that this network reaches it; it is tried again.",
        )
    return EntraError(
        ENTRA_UNREACHABLE,
        f"No connection to {host} ({_root(error)}). Check DNS, egress rules and the proxy setting; it is tried again.",
    )


def _root(error: BaseException) -> str:
    """The innermost cause in a few words, from the system or from TLS, never from a request."""
    for _ in range(20):  # bounded, because chains can be circular
        error = error.__cause__ or error.__context__ or error
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return type(error).__name__
