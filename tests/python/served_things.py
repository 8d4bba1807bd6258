"""What the tests of extension points serve, over connections of a class of their own."""

from __future__ import annotations

from typing import Any

from conftest import Rig

import rpyc
from rpyc.core.protocol import Connection


class Thing:
    """Something that goes by reference."""

    exposed_value = 5

    def exposed_method(self, number: int) -> int:
        return number + 1

    def __len__(self) -> int:
        return 3


class Service(rpyc.Service):
    """What the connections under test serve."""

    def exposed_same(self, value: Any) -> Any:
        return value

    def exposed_make(self) -> Thing:
        return Thing()

    def exposed_fail(self) -> None:
        raise ValueError("on purpose")

    def exposed_call(self, function: Any, *args: Any) -> Any:
        return function(*args)


def serving(connection: type[Connection]) -> type[Service]:
    """The service with a connection class of one's own."""
    return type("Service", (Service,), {"_protocol": connection})


def both(rig: Rig, connection: type[Connection]) -> Any:
    """A pair whose ends are both of the given class."""
    return rig.pair(serving(connection), client_service=serving(connection))
