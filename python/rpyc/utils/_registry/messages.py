"""What registry servers and clients say to each other.

A request is one brine-encoded tuple ``("RPYC", command, arguments)``, a reply
is one brine-encoded value. There is no framing: each is one datagram, or all
that one side of a TCP connection sends.

=============  ==================  =========================================
command        arguments           reply
=============  ==================  =========================================
``QUERY``      ``(name,)``         tuple of ``(host, port)``
``LIST``       ``((host,),)``      tuple of names, or ``None`` if forbidden
``REGISTER``   ``(names, port)``   ``"OK"``
``UNREGISTER`` ``(port,)``         ``"OK"``
=============  ==================  =========================================

Whatever a registry does not understand it does not answer.
"""

from __future__ import annotations

from typing import Any

from rpyc.core import brine

#: The port a registry listens on, UDP or TCP.
REGISTRY_PORT = 18811
#: The longest request a registry reads, in bytes.
MAX_DGRAM_SIZE = 1500
#: The longest reply a client reads, in bytes: what fits into one datagram.
MAX_REPLY_SIZE = 65535

#: Where a service is: host and port (a path for a server on a Unix socket).
Address = tuple[str, int]

#: The reply of commands that have nothing to tell.
ACKNOWLEDGED = "OK"

_MAGIC = "RPYC"


class MalformedMessage(ValueError):
    """The bytes are no registry message."""


def encode_request(command: str, *args: object) -> bytes:
    """Encode a request."""
    return brine.dump((_MAGIC, command, args))


def decode_request(data: bytes) -> tuple[str, tuple[Any, ...]]:
    """Decode a request into its command, in lower case, and its arguments.

    :raises MalformedMessage: it is none.
    """
    message = decode_value(data)
    if not isinstance(message, tuple) or len(message) != 3:
        raise MalformedMessage("a request is a tuple of three items")
    magic, command, args = message
    if magic != _MAGIC:
        raise MalformedMessage(f"a request begins with {_MAGIC!r}")
    if not isinstance(command, str) or not isinstance(args, tuple):
        raise MalformedMessage("a request has a text as command and a tuple of arguments")
    return command.lower(), args


def decode_value(data: bytes) -> Any:
    """Decode a reply.

    :raises MalformedMessage: it is none, or is not complete.
    """
    try:
        return brine.load(data)
    # What a decoder raises for bad bytes is a matter of what is bad about them,
    # and programs add decoders of their own.
    except Exception as exc:
        raise MalformedMessage(f"not a registry message: {exc}") from exc
