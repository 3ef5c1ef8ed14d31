"""Which certificates the submission host's may come from."""

import ssl


def authorities(pem: str | None) -> ssl.SSLContext:
    """A client's context that checks certificate and host name, TLS 1.2 at least (Microsoft: Exchange takes no less).

    With `pem`, only these authorities; None: the system's. Raises ValueError, whose text continues a file's name.
    """
    if pem is None:
        return ssl.create_default_context()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_verify_locations(cadata=pem)
    except (ssl.SSLError, ValueError, TypeError):  # TypeError: it is not even text
        raise ValueError("holds no certificate in PEM form") from None
    return context


class Authorities:
    """`authorities` that remembers the last answer: the system's take 20 ms to read."""

    def __init__(self) -> None:
        self.last: tuple[str | None, ssl.SSLContext] | None = None

    def __call__(self, pem: str | None) -> ssl.SSLContext:
        """The context for these authorities."""
        if not self.last or self.last[0] != pem:
            self.last = pem, authorities(pem)
        return self.last[1]
