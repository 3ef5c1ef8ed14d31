"""A ConfigMap's content as bytes. Pure."""

import base64
from collections.abc import Iterator, Mapping

from o365mailer_operator.controller.mailer import Manifest


class ConfigMapFiles(Mapping[str, bytes]):
    """A ConfigMap's keys, each encoded or decoded when it is read: it may have 60,000 of them.

    `kubectl create configmap --from-file` puts a file that is not UTF-8 into `binaryData`, in base64. No key is in both
    members (https://kubernetes.io/docs/reference/kubernetes-api/config-and-storage-resources/config-map-v1/).
    """

    def __init__(self, config_map: Manifest) -> None:
        self._text: Mapping[str, str] = config_map.get("data") or {}
        self._binary: Mapping[str, str] = config_map.get("binaryData") or {}

    def __getitem__(self, key: str) -> bytes:
        if key in self._text:
            return self._text[key].encode(errors="surrogatepass")
        return base64.b64decode(self._binary[key])

    def __iter__(self) -> Iterator[str]:
        yield from self._text
        yield from self._binary

    def __len__(self) -> int:
        return len(self._text) + len(self._binary)
