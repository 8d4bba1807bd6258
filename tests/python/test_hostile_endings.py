"""The connection ends while a handler runs: by the handler, by the peer, by both. For each handler, in both roles."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from conftest import Rig, eventually
from hostile import LOCAL, ROLES, TUPLE, VALUE, victim

import rpyc
from rpyc.core import brine, consts


class Trap:
    """Whatever is done with it springs it."""

    def __init__(self, spring: Callable[[], Any]) -> None:
        self.spring = spring

    def touched(self, *_: Any, **__: Any) -> Any:
        self.spring()
        return self

    __call__ = __eq__ = __enter__ = __exit__ = __getitem__ = __iter__ = __next__ = touched
    _rpyc_setattr = _rpyc_delattr = exposed_method = touched

    @property
    def exposed_attribute(self) -> int:
        self.spring()
        return 1

    def __repr__(self) -> str:
        self.spring()
        return "a trap"

    def __hash__(self) -> int:
        self.spring()
        return 1

    def __dir__(self) -> list[str]:
        self.spring()
        return []

    def __reduce__(self) -> Any:
        self.spring()
        return int, ()


NOTHING = (VALUE, ())
REQUESTS: dict[str, tuple[Any, ...]] = {
    "getattr": (consts.HANDLE_GETATTR, (VALUE, "attribute")),
    "setattr": (consts.HANDLE_SETATTR, (VALUE, "a"), (VALUE, 1)),
    "delattr": (consts.HANDLE_DELATTR, (VALUE, "a")),
    "call": (consts.HANDLE_CALL, NOTHING, NOTHING),
    "callattr": (consts.HANDLE_CALLATTR, (VALUE, "method"), NOTHING, NOTHING),
    "repr": (consts.HANDLE_REPR,),
    "str": (consts.HANDLE_STR,),
    "cmp": (consts.HANDLE_CMP, (VALUE, 1), (VALUE, "__eq__")),
    "hash": (consts.HANDLE_HASH,),
    "dir": (consts.HANDLE_DIR,),
    "pickle": (consts.HANDLE_PICKLE, (VALUE, 2)),
    "pickle_buffers": (consts.HANDLE_PICKLE_BUFFERS,),
    "buffiter": (consts.HANDLE_BUFFITER, (VALUE, 3)),
    "read_ahead": (consts.HANDLE_READ_AHEAD, (VALUE, 0), (VALUE, 3)),
    "oldslicing": (consts.HANDLE_OLDSLICING, (VALUE, "__getitem__"), (VALUE, "x"), (VALUE, 0), (VALUE, 1), NOTHING),
    "ctxexit": (consts.HANDLE_CTXEXIT, (VALUE, None)),
    "batch": (consts.HANDLE_BATCH,),
}


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("by", ["the handler", "the peer", "both", "an error like it"])
def test_the_end_within_a_handler(rig: Rig, role: str, by: str) -> None:
    """Who serves or waits hears of it, `on_disconnect` runs once, and nobody hangs."""
    for name, (handler, *arguments) in REQUESTS.items():
        ended: list[str] = []

        class Trapping(rpyc.Service):
            def on_connect(self, conn: Any) -> None:
                self.conn = conn

            def on_disconnect(self, conn: Any, ended: list[str] = ended) -> None:
                ended.append("once")

            def exposed_trap(self) -> Trap:
                return Trap(self.spring)

            def spring(self) -> None:
                if by in ("the handler", "both"):
                    self.conn.close()
                if by in ("the peer", "both"):
                    target.peer.sock.close()
                if by == "an error like it":
                    raise EOFError("of the program's own")

        target = victim(rig, role, Trapping, allow_pickle=True)
        _, (_, trap) = target.ask(consts.HANDLE_CALLATTR, target.root(), (VALUE, "trap"), NOTHING, NOTHING)
        boxed = ((LOCAL, trap), *arguments)
        if name == "batch":
            boxed = ((TUPLE, ((LOCAL, trap), NOTHING, NOTHING)),) * 3
        if by == "an error like it":
            refused, _ = target.refusal(handler, *boxed) if name != "batch" else ("EOFError", "")
            assert refused in ("EOFError", "AttributeError"), name
        else:
            target.peer.send(b"\x01" + brine.dump((1000, (handler, (TUPLE, boxed)))))
            with contextlib.suppress(OSError):
                # The request to close, or nothing.
                target.peer.receive()
        target.peer.sock.close()
        target.waiting.exception(10)
        eventually(ended.copy)
        assert ended == ["once"] and target.conn.closed, name
