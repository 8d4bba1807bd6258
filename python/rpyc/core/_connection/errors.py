"""What becomes of a wait when its connection ends."""

from __future__ import annotations


class ConnectionLost(EOFError):
    """The connection has ended, so what was asked for will not come.

    Everything that waits on a connection, or uses it later, ends with this error. It is an
    ``EOFError``, which is what RPyC raises.

    Attributes: ``cause`` says why it ended, ``peer`` names the other side (an address, or what
    there is instead of one), ``operation`` what failed (such as ``CALL``; ``None`` for a thread that
    only served). The text holds all three.

    The causes: ``closed`` (by this side), ``peer closed``, ``cut`` (the peer closed it in the middle
    of a message), ``reset``, ``timed out`` (the system gave the peer up), ``silent`` (no sign of life,
    see the config key ``heartbeat``), ``stuck`` (the peer took nothing for ``send_timeout`` seconds),
    ``malformed`` (what it sent is not the protocol), ``io error``, ``given up``.
    """

    # Programs know it from where the connection is; that is also how it is pickled.
    __module__ = "rpyc.core.protocol"

    cause: str
    peer: str
    operation: str | None

    def __init__(
        self, text: str = "", cause: str = "", peer: str = "", operation: str | None = None
    ) -> None:
        super().__init__(text)
        self.cause = cause
        self.peer = peer
        self.operation = operation

    def __reduce__(self) -> tuple[type[ConnectionLost], tuple[object, ...]]:
        return type(self), (*self.args, self.cause, self.peer, self.operation)
