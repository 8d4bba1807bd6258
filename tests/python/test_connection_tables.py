"""The tables and attributes of a connection that programs look into and assign to."""

from __future__ import annotations

from typing import Any

import pytest
from conftest import Rig, eventually
from served_things import Service, Thing

import rpyc
from rpyc.core import consts


def test_configuration_is_live(rig: Rig) -> None:
    """`conn._config` is a dict that is read at each use."""
    pair = rig.pair(Service)
    thing = pair.client.root.make()
    for prefix in ("exposed_", "other_", "exposed_"):
        pair.server._config["exposed_prefix"] = prefix
        assert hasattr(thing, "value") is (prefix == "exposed_")
    for allowed in (False, True, False):
        pair.server._config["allow_all_attrs"] = allowed
        assert hasattr(thing, "__dict__") is allowed
    pair.server._config = {**pair.server._config, "allow_pickle": True}
    assert rpyc.classic.obtain(pair.client.root.call(dict)) == {}


def test_tables_of_a_connection(rig: Rig) -> None:
    """The tables that programs look into hold what their names say."""
    pair = rig.pair(Service)
    client, server = pair.client, pair.server
    thing = client.root.make()
    identity = thing.____id_pack__
    assert type(server._local_objects[identity]) is Thing
    assert identity in server._local_objects._dict
    assert client._proxy_cache[identity] is thing
    assert client._local_root is not None and client._remote_root is client.root
    assert type(server._local_root) is Service
    del thing
    client.ping()
    eventually(lambda: client.poll_all() or identity not in server._local_objects._dict)
    assert not client._request_callbacks
    assert "count=0" in repr(client._recvlock)
    first, second = client._get_seq_id(), client._get_seq_id()
    assert second == first + 1
    assert next(client._seqcounter) > second
    client.ping("numbers may be left out")
    assert client._channel.stream.sock.fileno() == client.fileno()
    assert client._closed is False


def test_pending_requests_are_in_their_table(rig: Rig) -> None:
    """A request is registered under its number until its answer has come."""
    client = rig.pair(Service).client
    result = client.async_request(consts.HANDLE_PING, "x")
    assert len(client._request_callbacks) == 1
    assert result.value == "x"
    assert len(client._request_callbacks) == 0
    seen: list[Any] = []
    client._async_request(consts.HANDLE_PING, ("y",), lambda failed, value: seen.append((failed, value)))
    eventually(lambda: client.poll_all() or seen == [(False, "y")])


def test_remote_root_may_be_assigned(rig: Rig) -> None:
    """Programs put an object of their own in place of the root."""
    client = rig.pair(Service).client
    client._remote_root = thing = client.root.make()
    assert client.root is thing


def test_locals_of_the_call_handler(rig: Rig) -> None:
    """The remote builtin `locals`, called through a proxy, shows the serving connection as `self`."""
    pair = rig.pair(rpyc.ClassicService, client_service=rpyc.ClassicService)
    shown = pair.client.builtins.locals()
    # Before anything that fails over there, the end of an iteration included.
    assert shown["self"]._last_traceback is None
    assert repr(shown["self"]) == repr(pair.server)
    assert "self" in list(shown)


def test_last_traceback(rig: Rig) -> None:
    """None before the first failure, then the failing handler's."""
    pair = rig.pair(Service)
    assert pair.server._last_traceback is None
    with pytest.raises(ValueError, match="on purpose"):
        pair.client.root.fail()
    trace: Any = pair.server._last_traceback
    while trace.tb_next:
        trace = trace.tb_next
    assert trace.tb_frame.f_code.co_name == "exposed_fail"
