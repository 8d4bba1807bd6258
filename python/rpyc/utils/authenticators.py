"""Authenticators: who may talk to a server, decided before the protocol starts.

An authenticator is any callable that takes the accepted socket and returns a
pair ``(socket, credentials)``. The returned socket, which may wrap the first
one, is the one that is served; the credentials are put into the connection's
configuration under ``"credentials"``. It raises :class:`AuthenticationError`
to turn the client away.

A server calls its authenticator in the thread (or process) of that client,
never in its accept loop, and drops the client when the call takes longer than
the configuration's ``endpoints_timeout`` (seconds).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import ssl

Authenticator = Callable[[socket.socket], "tuple[socket.socket, Any]"]


class AuthenticationError(Exception):
    """Raised by an authenticator to refuse a client."""


class SSLAuthenticator:
    """Serve over TLS, and ask for client certificates if wanted.

    :param keyfile: the server's private key (PEM).
    :param certfile: the server's certificate chain (PEM).
    :param ca_certs: certificates that may have signed a client's certificate.
    :param cert_reqs: an ``ssl.CERT_*`` mode. Default: ``CERT_REQUIRED`` if
        ``ca_certs`` is given, else ``CERT_NONE``.
    :param ssl_version: an ``ssl.PROTOCOL_*`` number. Default: the safe settings
        of :func:`ssl.create_default_context`.
    :param ciphers: an OpenSSL cipher list.

    Calling it returns the TLS socket and the client's certificate as a dict
    (``None`` if there is none, empty if it was not verified). A failed
    handshake raises :class:`AuthenticationError`.
    """

    def __init__(
        self,
        keyfile: str | os.PathLike[str],
        certfile: str | os.PathLike[str],
        ca_certs: str | os.PathLike[str] | None = None,
        cert_reqs: int | None = None,
        ssl_version: int | None = None,
        ciphers: str | None = None,
    ) -> None:
        import ssl

        self.keyfile = str(keyfile)
        self.certfile = str(certfile)
        self.ca_certs = str(ca_certs) if ca_certs else None
        self.ssl_version = ssl_version
        self.ciphers = ciphers
        self.cert_reqs: int
        if cert_reqs is not None:
            self.cert_reqs = cert_reqs
        else:
            self.cert_reqs = ssl.CERT_REQUIRED if ca_certs else ssl.CERT_NONE

    def __call__(self, sock: socket.socket) -> tuple[socket.socket, Any]:
        """Do the server's side of the TLS handshake on ``sock``."""
        import ssl

        try:
            secured = self._context().wrap_socket(sock, server_side=True)
        except ssl.SSLError as exc:
            raise AuthenticationError(f"TLS handshake failed: {exc}") from exc
        return secured, secured.getpeercert()

    def _context(self) -> ssl.SSLContext:
        # A context per client: renewed certificate files take effect at once.
        import ssl

        if self.ssl_version is None:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=self.ca_certs)
        else:
            context = ssl.SSLContext(self.ssl_version)
            if self.ca_certs is not None:
                context.load_verify_locations(self.ca_certs)
        context.load_cert_chain(self.certfile, keyfile=self.keyfile)
        context.verify_mode = ssl.VerifyMode(self.cert_reqs)
        if self.ciphers is not None:
            context.set_ciphers(self.ciphers)
        return context
