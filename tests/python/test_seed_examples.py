"""The examples of the system's own description, run as they stand: only the port is replaced by a free one.

The description goes beyond RPyC 6.0.2 in a few places; the tests that need that say "intended superset".
"""

from __future__ import annotations

import socket
import threading
from typing import Any

import pytest
from conftest import Program, Rig, eventually

import rpyc
from rpyc.core.protocol import Connection

CALCULATOR = '''
import rpyc
from rpyc import exposed

class CalculatorService(rpyc.Service):
    """Custom service providing calculator functionality"""

    @exposed
    def add(self, a, b):
        return a + b

    @exposed
    def multiply(self, a, b):
        return a * b

    @exposed
    def get_history(self):
        # Could return calculation history
        return []

    def on_connect(self, conn):
        print(f"Client connected: {conn}")

    def on_disconnect(self, conn):
        print(f"Client disconnected: {conn}")

# Use the service
from rpyc.utils.server import ThreadedServer
server = ThreadedServer(CalculatorService, port=12345)
server.start()
'''

CONFIGURED = """
import rpyc

# Custom configuration
config = {
    'allow_pickle': True,           # Allow pickle serialization
    'sync_request_timeout': 60,     # 60 second timeout
}

# Connect with custom config
conn = rpyc.connect('localhost', 12345, config=config)

# Use connection
result = conn.root.some_function()
conn.close()
"""

ASYNCHRONOUS = """
import rpyc

conn = rpyc.connect('localhost', 12345)

# Start async operation
async_result = rpyc.async_(conn.root.long_running_function)()

# Do other work while operation runs
print("Operation started, doing other work...")

# Wait for result
try:
    result = async_result.wait(timeout=30)
    print(f"Result: {async_result.value}")
except rpyc.AsyncResultTimeout:
    print("Operation timed out")

conn.close()
"""

LIFECYCLE = """
import rpyc

# Connect and manage lifecycle
conn = rpyc.connect('localhost', 12345)

try:
    # Test connectivity
    conn.ping()

    # Use connection
    result = conn.root.get_data()

    # Serve any pending requests
    conn.serve_all()

finally:
    # Always close connection
    conn.close()
"""


class ExampleService(rpyc.Service):
    """What the client examples call."""

    def __init__(self) -> None:
        self.gate = threading.Event()

    def exposed_some_function(self) -> str:
        return "some result"

    def exposed_long_running_function(self) -> str:
        assert self.gate.wait(20)
        return "long result"

    def exposed_get_data(self) -> str:
        return "data"


def example(rig: Rig, text: str, port: object, more: str = "") -> Program:
    """Run an example against the port, with more statements at its end."""
    return rig.program(text.replace("12345", str(port)) + more)


def free_port() -> int:
    """A port that nobody listens on at the moment."""
    with socket.socket() as sock:
        sock.bind(("", 0))
        return int(sock.getsockname()[1])


def connect_when_up(port: int) -> Any:
    """A connection, or None while nobody listens there yet."""
    try:
        return rpyc.connect("localhost", port)
    except ConnectionRefusedError:
        return None


def test_calculator(rig: Rig) -> None:
    """Intended superset: marked methods of a service are exposed without a class decorator, and only they."""
    port = free_port()
    program = example(rig, CALCULATOR, port)
    conn = eventually(lambda: connect_when_up(port))
    rig.on_end(conn.close)
    assert program.line().startswith("Client connected: <rpyc.core.protocol.Connection 'conn1' object at 0x")
    assert conn.root.add(2, 3) == conn.root.exposed_add(2, 3) == 5
    assert conn.root.multiply(6, 7) == 42
    assert list(conn.root.get_history()) == []
    assert conn.root.get_service_name() == "CALCULATOR"
    for name in ("on_connect", "on_disconnect", "_connect", "unknown"):
        with pytest.raises(AttributeError):
            getattr(conn.root, name)
    conn.close()
    assert program.line().startswith("Client disconnected: <rpyc.core.protocol.Connection 'conn1' object at 0x")


def test_configuration(rig: Rig) -> None:
    """The configuration takes effect and the call returns."""
    server = rig.serve(ExampleService)
    more = "print(result, conn._config['allow_pickle'], conn._config['sync_request_timeout'], conn.closed)"
    program = example(rig, CONFIGURED, server.port, more)
    assert program.line() == "some result True 60 True"
    assert program.wait() == 0


def test_asynchronous_operation(rig: Rig) -> None:
    """Intended superset: `wait` takes a time limit."""
    service = ExampleService()
    program = example(rig, ASYNCHRONOUS, rig.serve(service).port)
    assert program.line() == "Operation started, doing other work..."
    service.gate.set()
    assert program.line() == "Result: long result"
    assert program.wait() == 0


def test_asynchronous_operation_that_takes_too_long(rig: Rig) -> None:
    """The other branch of the same example."""
    service = ExampleService()
    program = example(rig, ASYNCHRONOUS.replace("timeout=30", "timeout=0.1"), rig.serve(service).port)
    rig.on_end(service.gate.set)
    assert program.line() == "Operation started, doing other work..."
    assert program.line() == "Operation timed out"
    service.gate.set()
    assert program.wait() == 0


def test_lifecycle(rig: Rig) -> None:
    """`serve_all` serves until the other side ends, so this server hangs up once its answer is out."""
    answered = threading.Event()

    class Watching(Connection):
        def _dispatch_request(self, seq: Any, raw_args: Any) -> None:
            super()._dispatch_request(seq, raw_args)
            if served:
                answered.set()

    class HangsUp(ExampleService):
        _protocol = Watching

        def on_connect(self, conn: Any) -> None:
            conns.append(conn)

        def exposed_get_data(self) -> str:
            served.append(1)
            return "data"

    conns: list[Any] = []
    served: list[int] = []
    program = example(rig, LIFECYCLE, rig.serve(HangsUp).port, "print(result, conn.closed)")
    assert answered.wait(20)
    conns[0].close()
    assert program.line() == "data True"
    assert program.wait() == 0


def test_names_of_the_description() -> None:
    """Intended superset: what the description lists is there, at the top of the package."""
    assert issubclass(rpyc.PingError, Exception)
    assert issubclass(rpyc.GenericException, Exception)
    assert rpyc.DEFAULT_CONFIG is rpyc.core.DEFAULT_CONFIG
    assert rpyc.DEFAULT_CONFIG["endpoints_timeout"] == 3
    for name in (
        "allow_all_attrs", "allow_pickle", "allow_getattr", "allow_setattr", "allow_delattr", "allow_public_attrs",
        "exposed_prefix", "allow_safe_attrs", "safe_attrs", "instantiate_custom_exceptions",
        "instantiate_oldstyle_exceptions", "propagate_SystemExit_locally", "propagate_KeyboardInterrupt_locally", "logger",
        "connid", "credentials", "sync_request_timeout",
    ):
        assert name in rpyc.DEFAULT_CONFIG
    for name in ("Service", "VoidService", "SlaveService", "MasterService", "ClassicService", "BaseNetref", "AsyncResult"):
        assert isinstance(getattr(rpyc, name), type)
    assert callable(rpyc.Connection.serve_forever)


def test_slave_service_of_the_description(rig: Rig) -> None:
    """Intended superset: the exposed spellings of a slave's methods, and its getattr and setattr."""
    root = rig.pair(rpyc.SlaveService).client.root
    root.exposed_execute("class Thing: value = 1\nthing = Thing()")
    assert root.exposed_eval("thing.value + 1") == 2
    thing = root.eval("thing")
    assert root.exposed_getattr(thing, "value") == 1
    root.exposed_setattr(thing, "value", 5)
    assert root.eval("thing.value") == 5
