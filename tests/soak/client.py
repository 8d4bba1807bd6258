"""A client of the soak that is not measured: `client.py PORT`. Runs with RPyC 6.0.2, until it is killed.

Prints the number of calls it has made, now and then.
"""

from __future__ import annotations

import itertools
import sys

import rpyc

conn = rpyc.connect("127.0.0.1", int(sys.argv[1]), config={"sync_request_timeout": 120})
for number in itertools.count(1):
    assert conn.root.same(number) == number
    assert conn.root.call(lambda value: value + 1, number) == number + 1
    thing = conn.root.make()
    assert thing.number == 0
    del thing
    if number % 50 == 0:
        print(4 * number, flush=True)
