"""A limit for all requests that a thread makes within a ``with`` block."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rpyc._rpyc import Engine


class TimeLimit:
    """The context manager of :meth:`rpyc.core.protocol.Connection.timeout`."""

    __slots__ = ("_engine", "_numbers", "_seconds")

    def __init__(self, engine: Engine, seconds: float) -> None:
        self._engine = engine
        self._seconds = seconds
        self._numbers: list[int] = []

    def __enter__(self) -> None:
        self._numbers.append(self._engine._enter_limit(self._seconds))

    def __exit__(self, *exc_info: object) -> None:
        self._engine._leave_limit(self._numbers.pop())

    def __repr__(self) -> str:
        return f"<time limit of {self._seconds} seconds>"
