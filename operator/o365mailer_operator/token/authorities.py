"""The authorities that a spec's `ca` names, in a Secret or in a ConfigMap: the only ones to trust for that host.

They are public, so the tools that distribute them write ConfigMaps: trust-manager a key that its Bundle names
(https://cert-manager.io/docs/trust/trust-manager/), OpenShift the key ca-bundle.crt of a ConfigMap with the label
config.openshift.io/inject-trusted-cabundle. Both read 2026-11-28.
"""

import itertools
from collections.abc import Mapping
from typing import Final

from o365mailer_operator.token.certificate import BundleError, read_authorities
from o365mailer_operator.token.credential import KEYS_COMPARED, Need, Source, other_keys, read_file, stripped
from o365mailer_operator.token.errors import (
    CA_BUNDLE_INVALID,
    CONFIG_MAP_KEY_MISSING,
    CONFIG_MAP_NOT_FOUND,
    ConfigMapError,
    CredentialError,
)
from o365mailer_operator.token.spec import AuthoritiesSpec

BUNDLE_ENDINGS: Final = (".crt", ".pem", ".cer")
"""Of the keys that a message may name. A user who may view a mailer may not be allowed to view ConfigMaps."""


def authority_need(ca: AuthoritiesSpec | None) -> Need | None:
    """The object that `ca` names; None without one."""
    if ca and (ref := ca.secret_ref):
        return Need("Secret", ref.name, ref.key)
    if ca and (ref := ca.config_map_ref):
        return Need("ConfigMap", ref.name, ref.key)
    return None


def authorities_of(ca: AuthoritiesSpec | None, source: Source) -> str | None:
    """The PEM certificates that `ca` names; None without one. Raises CredentialError, ConfigMapError."""
    need = authority_need(ca)
    if need is None:
        return None
    kind, name, key = need
    try:
        return read_authorities(read_file(need, source) if kind == "Secret" else _file(name, key, source))
    except BundleError as problem:
        text = f"The key {key} of the {kind} {name} {problem}."
        if kind == "Secret":
            raise CredentialError(CA_BUNDLE_INVALID, text, secret=name, key=key) from None
        raise ConfigMapError(CA_BUNDLE_INVALID, text, config_map=name, key=key) from None


def _file(name: str, key: str, source: Source) -> bytes:
    """The key's content in UTF-8; as it is if it is no text. Raises ConfigMapError, BundleError."""
    content = source.config_map(name)
    if content is None:
        raise ConfigMapError(
            CONFIG_MAP_NOT_FOUND,
            f"There is no ConfigMap {name} in this namespace. Create it, with the authorities under the key "
            f"{key}, or let trust-manager or OpenShift put it here.",
            config_map=name,
            key=key,
        )
    if key not in content:
        raise ConfigMapError(
            CONFIG_MAP_KEY_MISSING,
            f"The ConfigMap {name} has no key {key}; it has {_instead(content)}. Name the key of the "
            "authorities in configMapRef.key, or add this one.",
            config_map=name,
            key=key,
        )
    found = stripped(content[key])
    if not found:
        raise BundleError("is empty. Put in the authority's certificate in PEM form")
    return found


def _instead(content: Mapping[str, bytes]) -> str:
    """The keys that look like a bundle's, or else how many there are."""
    likely = [key for key in itertools.islice(content, KEYS_COMPARED) if key.endswith(BUNDLE_ENDINGS)]
    if likely:
        return " and ".join(f"a key {key}" for key in likely[:3])
    return other_keys(content)
