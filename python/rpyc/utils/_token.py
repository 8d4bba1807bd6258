"""A handshake by which both sides show that they know the same secret, without showing it.

::

    client -> server   "RPYCTOK1"  length of name (1 byte)  name  client nonce (32 bytes)
    server -> client   "RPYCTOK1"  server nonce (32 bytes)
    client -> server   proof of the client (32 bytes)
    server -> client   1, proof of the server (32 bytes)   or   0, and the end of the stream

    proof = HMAC-SHA256(secret, label  length of name  name  client nonce  server nonce)
    label = "rpyc token 1 client" or "rpyc token 1 server", and a zero byte

(``protocol.md``, section 20.) The nonces are random, so an overheard proof is worth nothing later,
and the labels keep one side's proof from passing for the other's. The client proves itself first: a
server says nothing about the secret to whoever does not know it. All lengths are fixed or one byte.

What it does not do: it hides and protects nothing that follows. Over a network that is not trusted,
use it inside TLS, with a server that the client verifies.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import socket
import time

from rpyc.utils._authentication import AuthenticationError

MAGIC = b"RPYCTOK1"
"""Opens both sides' first message; the last character is the version."""

NONCE_SIZE = 32
PROOF_SIZE = hashlib.sha256().digest_size

_ADMITTED, _REFUSED = b"\1", b"\0"
_CLIENT, _SERVER = b"rpyc token 1 client\0", b"rpyc token 1 server\0"


def admit(sock: socket.socket, known: dict[str, bytes], seconds: float) -> str:
    """Do the server's side; return the name of the client.

    ``known`` has the secrets by name. Raises :class:`AuthenticationError`, which never says more to
    the client than that it is refused.
    """
    wire = _Wire(sock, seconds, "client")
    magic = wire.read(len(MAGIC))
    if magic != MAGIC:
        raise AuthenticationError(f"the client does not know the token handshake (sent {magic!r})")
    name = wire.read(wire.read(1)[0])
    theirs = wire.read(NONCE_SIZE)
    ours = secrets.token_bytes(NONCE_SIZE)
    wire.write(MAGIC + ours)
    said = wire.read(PROOF_SIZE)
    # For an unknown name everything happens the same way, with a secret that nobody has.
    text = name.decode("utf-8", "replace")
    secret = known.get(text)
    wanted = _proof(secret or secrets.token_bytes(PROOF_SIZE), _CLIENT, name, theirs, ours)
    if not hmac.compare_digest(said, wanted) or secret is None:
        wire.write(_REFUSED)
        raise AuthenticationError(f"the client that calls itself {text!r} has another token")
    wire.write(_ADMITTED + _proof(secret, _SERVER, name, theirs, ours))
    wire.done()
    return text


def introduce(sock: socket.socket, name: str, secret: bytes, seconds: float) -> None:
    """Do the client's side. Raises :class:`AuthenticationError` if either side is not convinced."""
    wire = _Wire(sock, seconds, "server")
    encoded = name.encode()
    ours = secrets.token_bytes(NONCE_SIZE)
    wire.write(MAGIC + bytes([len(encoded)]) + encoded + ours)
    magic = wire.read(len(MAGIC))
    if magic != MAGIC:
        raise AuthenticationError(f"the server does not know the token handshake (sent {magic!r})")
    theirs = wire.read(NONCE_SIZE)
    wire.write(_proof(secret, _CLIENT, encoded, ours, theirs))
    if wire.read(1) != _ADMITTED:
        raise AuthenticationError("the server refuses the token")
    said = wire.read(PROOF_SIZE)
    if not hmac.compare_digest(said, _proof(secret, _SERVER, encoded, ours, theirs)):
        raise AuthenticationError("the server does not know the token: it is another one")
    wire.done()


def _proof(secret: bytes, label: bytes, name: bytes, client: bytes, server: bytes) -> bytes:
    told = label + bytes([len(name)]) + name + client + server
    return hmac.new(secret, told, hashlib.sha256).digest()


class _Wire:
    """Reads and writes on a socket until a deadline; what fails is an :class:`AuthenticationError`."""

    def __init__(self, sock: socket.socket, seconds: float, peer: str) -> None:
        self._sock = sock
        self._peer = peer
        self._seconds = seconds
        self._deadline = time.monotonic() + seconds
        self._timeout = sock.gettimeout()

    def read(self, count: int) -> bytes:
        """Exactly so many bytes, and none that follow."""
        data = b""
        while len(data) < count:
            try:
                self._hurry()
                piece = self._sock.recv(count - len(data))
            except OSError as error:
                raise self._failed(error) from error
            if not piece:
                raise AuthenticationError(f"the {self._peer} hung up during the token handshake")
            data += piece
        return data

    def write(self, data: bytes) -> None:
        """All of the bytes."""
        try:
            self._hurry()
            self._sock.sendall(data)
        except OSError as error:
            raise self._failed(error) from error

    def done(self) -> None:
        """The handshake is over: the socket waits as it did before."""
        self._sock.settimeout(self._timeout)

    def _hurry(self) -> None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._sock.settimeout(left)

    def _failed(self, error: OSError) -> AuthenticationError:
        if isinstance(error, TimeoutError):
            return AuthenticationError(
                f"the {self._peer} did not do its part of the token handshake within "
                f"{self._seconds} seconds"
            )
        return AuthenticationError(f"the token handshake with the {self._peer} failed: {error}")
