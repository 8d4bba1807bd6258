"""What a client may touch: the server's policy for its objects, from closed to open.

The policy that counts is that of the side which owns the object. Without any, only names that start with ``exposed_``
and harmless operators are reachable.
"""

from __future__ import annotations

from typing import Any

from roles import HOST, play

import rpyc
from rpyc.utils.helpers import restricted


class Account:
    """An ordinary object, written without a thought of remote calls."""

    def __init__(self) -> None:
        self.owner = "Ada"
        self.limit = 100
        self._pin = "1234"


class ReadOnly:
    """An object with a policy of its own: the two hooks are asked before any configuration."""

    def __init__(self) -> None:
        self.text = "for your eyes"

    def _rpyc_getattr(self, name: str) -> object:
        if name != "text":
            raise AttributeError(f"only text may be read, not {name}")
        return self.text

    def _rpyc_setattr(self, name: str, value: object) -> None:
        raise AttributeError("read only")


class BankService(rpyc.Service):
    """Hands out objects under different policies."""

    def __init__(self) -> None:
        self._account = Account()
        self._read_only = ReadOnly()

    def exposed_account(self) -> Account:
        """Under the server's configuration."""
        return self._account

    def exposed_restricted_account(self) -> object:
        """Whatever the configuration says: this one name readable, none writable."""
        return restricted(self._account, {"limit"}, ())

    def exposed_read_only(self) -> ReadOnly:
        """Under its own hooks."""
        return self._read_only


# Names without a leading underscore may be read, nothing may be set. All keys: rpyc.core.protocol.DEFAULT_CONFIG.
SERVER_CONFIG = {"allow_public_attrs": True, "allow_setattr": False}

# The client's own objects stay closed; what it waits for must come within five seconds.
CLIENT_CONFIG = {"sync_request_timeout": 5}


def client(port: int) -> None:
    """Tries doors."""
    conn = rpyc.connect(HOST, port, config=CLIENT_CONFIG)
    account = conn.root.account()
    attempt("public name", account, "owner")
    attempt("private name", account, "_pin")
    attempt("setting", account, "limit", 1_000_000)

    attempt("restricted, listed", conn.root.restricted_account(), "limit")
    attempt("restricted, other", conn.root.restricted_account(), "owner")

    attempt("own hook, allowed", conn.root.read_only(), "text")
    attempt("own hook, refused", conn.root.read_only(), "__dict__")
    attempt("own hook, setting", conn.root.read_only(), "text", "mine")
    conn.close()


def attempt(what: str, remote: Any, name: str, *value: object) -> None:
    """Reads the attribute, after setting it if a value is given, and says what came of it."""
    try:
        if value:
            setattr(remote, name, *value)
        print(f"{what}: {getattr(remote, name)}")
    except AttributeError as error:
        print(f"{what}: refused, {str(error).splitlines()[0]}")


if __name__ == "__main__":
    play(BankService, client, SERVER_CONFIG)
