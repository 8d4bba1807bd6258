"""The end of the interpreter: no hang, no noise, whatever the connections and their daemon threads are doing."""

from __future__ import annotations

import subprocess
import sys

import pytest

START = """
import threading, time
import rpyc
from rpyc.utils.server import ThreadedServer

class Service(rpyc.Service):
    def exposed_spin(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            pass
    def exposed_numbers(self):
        return [1, 2]

"""

ENDS = {
    "closed": "conn = rpyc.connect_thread(remote_service=Service)\nconn.root\nconn.close()",
    "open": "conn = rpyc.connect_thread(remote_service=Service)\nnumbers = conn.root.numbers()",
    "netrefs in a cycle": (
        "conn = rpyc.connect_thread(remote_service=Service)\nloop = [conn.root.numbers()]\nloop.append(loop)\ndel conn"
    ),
    "a finalizer calls": (
        "class Last:\n    def __init__(self, call):\n        self.call = call\n"
        "    def __del__(self):\n        try:\n            self.call()\n        except EOFError:\n            pass\n"
        "conn = rpyc.connect_thread(remote_service=Service)\nlast = Last(conn.root.numbers)"
    ),
    "a call at the exit": (
        "import atexit\nconn = rpyc.connect_thread(remote_service=Service)\nproxy = conn.root.numbers()\n"
        "atexit.register(lambda: proxy[0])"
    ),
    "classic": "conn = rpyc.classic.connect_thread()\nmodule = conn.modules.sys",
    "serving in the background": "conn = rpyc.connect_thread(remote_service=Service)\nrpyc.BgServingThread(conn)\nconn.root",
    "a handler runs": "conn = rpyc.connect_thread(remote_service=Service)\nrpyc.async_(conn.root.spin)(0.2)",
    "a thread waits": (
        "conn = rpyc.connect_thread(remote_service=Service)\nspin = conn.root.spin\n"
        "threading.Thread(target=spin, args=(0.3,), daemon=True).start()\ntime.sleep(0.05)"
    ),
    "a server runs": "server = ThreadedServer(Service, hostname='127.0.0.1', port=0)\nserver._start_in_thread()\n"
    "conns = [rpyc.connect('127.0.0.1', server.port) for _ in range(5)]\n[conn.root for conn in conns]",
}


@pytest.mark.parametrize("end", ENDS)
def test_the_interpreter_ends_quietly(end: str) -> None:
    # Threads race with the end of the interpreter, so one run says little.
    for _ in range(10):
        done = subprocess.run(
            [sys.executable, "-c", START + ENDS[end]], capture_output=True, text=True, timeout=30, check=False
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
