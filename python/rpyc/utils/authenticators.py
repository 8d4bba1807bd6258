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

import logging
import os
import socket
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from rpyc.utils import _authentication

if TYPE_CHECKING:
    import ssl

AuthenticationError = _authentication.AuthenticationError

Authenticator = Callable[[socket.socket], "tuple[socket.socket, Any]"]


class ClientAuthenticator(Protocol):
    """What ``rpyc.connect(..., authenticator=...)`` takes."""

    def introduce(self, sock: socket.socket) -> tuple[socket.socket, Any]:
        """Introduce this side on a connected socket, and make sure of the server.

        Returns the socket to use and the server's credentials, which are put into the connection's
        configuration. Raises :class:`AuthenticationError`.
        """
        ...


class TokenAuthenticator:
    """Both sides show that they know the same token, without showing it.

    :param token: the token, at least 16 bytes; texts are encoded as UTF-8. A server may give a
        mapping instead: names of clients, and the token of each.
    :param name: the name that a client introduces itself with.
    :param timeout: seconds that the handshake may take. A server's ``endpoints_timeout`` holds too.
    :raises ValueError: a token is too short to be a secret, or a name is too long.

    A server calls it, a client is given it: ``rpyc.connect(..., authenticator=...)``. The
    credentials are the client's name, ``""`` if there are no names. Nothing of a token is ever
    logged or shown. What follows the handshake is neither hidden nor protected by it: over a
    network that is not trusted, use it inside TLS (:class:`Chained`).
    """

    MIN_SIZE = 16
    """The shortest token, in bytes: who overhears a handshake may try out short ones."""

    MAX_NAME = 255
    """The longest name, in bytes of UTF-8: its length is one byte."""

    def __init__(
        self,
        token: str | bytes | Mapping[str, str | bytes],
        name: str = "",
        timeout: float = 10.0,
    ) -> None:
        self.name = name
        self.timeout = timeout
        tokens = token if isinstance(token, Mapping) else {name: token}
        self._secrets = {known: self._checked(known, secret) for known, secret in tokens.items()}

    @classmethod
    def from_file(
        cls, path: str | os.PathLike[str], name: str = "", timeout: float = 10.0
    ) -> TokenAuthenticator:
        """An authenticator for the token that a file holds; white space around it does not count.

        A file that others may read is reported in the log.
        """
        file = Path(path)
        if file.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            logging.getLogger("rpyc").warning(
                "the token file %s may be used by others: chmod 600 it", file
            )
        return cls(file.read_bytes().strip(), name, timeout)

    @staticmethod
    def make_token() -> str:
        """A new random token, as printable text."""
        import secrets

        return secrets.token_urlsafe(32)

    def __call__(self, sock: socket.socket) -> tuple[socket.socket, str]:
        """Do the server's side of the handshake on ``sock``."""
        # Imported when needed: it takes the modules for cryptography along.
        from rpyc.utils import _token

        return sock, _token.admit(sock, self._secrets, self.timeout)

    def introduce(self, sock: socket.socket) -> tuple[socket.socket, str]:
        """Do the client's side of the handshake on ``sock``.

        :raises ValueError: there is no token for the own name.
        """
        from rpyc.utils import _token

        secret = self._secrets.get(self.name)
        if secret is None:
            raise ValueError(
                f"{self!r} has no token for the name {self.name!r}: a client gives its own one"
            )
        _token.introduce(sock, self.name, secret, self.timeout)
        return sock, self.name

    def __repr__(self) -> str:
        return f"<TokenAuthenticator for {', '.join(map(repr, self._secrets))}>"

    def __reduce__(self) -> Any:
        raise TypeError("a TokenAuthenticator is not pickled: that would write its tokens down")

    def _checked(self, name: str, token: str | bytes) -> bytes:
        if len(name.encode()) > self.MAX_NAME:
            raise ValueError(f"the name {name[:20]!r}... is longer than {self.MAX_NAME} bytes")
        secret = token.encode() if isinstance(token, str) else bytes(token)
        if len(secret) < self.MIN_SIZE:
            raise ValueError(
                f"the token for {name!r} has less than {self.MIN_SIZE} bytes, which can be "
                "guessed: use TokenAuthenticator.make_token()"
            )
        return secret


class Chained:
    """Several authenticators, one after the other; each gets the socket that the last one returned.

    ``Chained(SSLAuthenticator(...), TokenAuthenticator(...))`` asks for a token inside TLS. The
    credentials are the tuple of theirs.
    """

    def __init__(self, *authenticators: Authenticator) -> None:
        self.authenticators = authenticators

    def __call__(self, sock: socket.socket) -> tuple[socket.socket, tuple[Any, ...]]:
        """Ask all of them."""
        credentials = []
        try:
            for authenticator in self.authenticators:
                sock, told = authenticator(sock)
                credentials.append(told)
        except BaseException:
            # The one that was given may have lost its descriptor to this one.
            sock.close()
            raise
        return sock, tuple(credentials)


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

    @property
    def asks_for_certificate(self) -> bool:
        """Whether a client without a valid certificate is refused."""
        import ssl

        return self.cert_reqs == ssl.CERT_REQUIRED

    def __call__(self, sock: socket.socket) -> tuple[socket.socket, Any]:
        """Do the server's side of the TLS handshake on ``sock``."""
        # Files that can't be used are no fault of the client's.
        context = self._context()
        try:
            secured = context.wrap_socket(sock, server_side=True)
        # What TLS finds wrong is an OSError, and so is a client that has left.
        except OSError as exc:
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
