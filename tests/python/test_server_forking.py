"""The forking server: its children, and how they end."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest
from conftest import PATIENCE, Rig, eventually, in_thread
from server_services import MULTI_THREADED_FORKS, Echo

import rpyc
from rpyc.utils.server import ForkingServer

pytestmark = MULTI_THREADED_FORKS


def test_children_are_reaped_by_the_handler_of_the_main_thread(rig: Rig) -> None:
    calls: list[int] = []
    previous = signal.signal(signal.SIGCHLD, lambda signum, frame: calls.append(signum))
    rig.on_end(signal.signal, signal.SIGCHLD, previous)
    before = signal.getsignal(signal.SIGCHLD)
    server: Any = rig.serve(Echo, kind=ForkingServer)
    conn = rig.connect(server)
    child = conn.root.process()
    assert server._children == {child}
    conn.close()
    eventually(lambda: not server._children)
    with pytest.raises(ChildProcessError):
        os.waitpid(child, 0)
    eventually(lambda: calls)
    server.close()
    assert signal.getsignal(signal.SIGCHLD) is before


def test_children_are_reaped_without_a_handler(rig: Rig) -> None:
    before = signal.getsignal(signal.SIGCHLD)
    server: Any = in_thread(lambda: ForkingServer(Echo, hostname="127.0.0.1")).result(PATIENCE)
    rig.on_end(server._start_in_thread().join, PATIENCE)
    rig.on_end(server.close)
    assert signal.getsignal(signal.SIGCHLD) is before
    conn = rig.connect(server)
    child = conn.root.process()
    conn.close()
    eventually(lambda: not server._children)
    with pytest.raises(ChildProcessError):
        os.waitpid(child, 0)


def test_children_outlive_a_forking_server(rig: Rig) -> None:
    server: Any = rig.serve(Echo, kind=ForkingServer)
    conn = rig.connect(server)
    assert conn.root.echo(1) == 1
    server.close()
    assert conn.root.echo(2) == 2
    conn.close()
    eventually(lambda: not server._children)


def test_a_child_exits_cleanly(rig: Rig) -> None:
    """With status 0, what it printed written once, and without the exit handlers of its parent."""
    program = rig.program(FORKING_PROGRAM)
    port = int(program.line())
    conn = rpyc.connect("127.0.0.1", port)
    conn.root.say("child")
    conn.close()
    assert program.line() == "child"
    assert program.line() == "status 0"
    program.tell()
    assert program.line() == "exit"
    assert program.wait() == 0


FORKING_PROGRAM = """
import atexit, os, sys, rpyc
from rpyc.utils.server import ForkingServer
real = os.waitpid
def waitpid(pid, options):
    found, status = real(pid, options)
    if found:
        print("status", status, flush=True)
    return found, status
os.waitpid = waitpid
atexit.register(print, "exit")
class Talker(rpyc.Service):
    def exposed_say(self, text):
        sys.stdout.write(text + "\\n")
server = ForkingServer(Talker, hostname="127.0.0.1")
thread = server._start_in_thread()
print(server.port, flush=True)
sys.stdin.readline()
server.close()
thread.join()
"""
