"""``import rpyc`` makes all of RPyC's names reachable, and imports no more than most programs need."""

from __future__ import annotations

import subprocess
import sys

import pytest

REACHABLE = """
    rpyc.classic rpyc.classic.factory rpyc.cli rpyc.core rpyc.core.async_ rpyc.core.brine rpyc.core.channel
    rpyc.core.consts rpyc.core.netref rpyc.core.protocol rpyc.core.service rpyc.core.stream rpyc.core.vinegar rpyc.lib
    rpyc.lib.colls rpyc.lib.compat rpyc.utils rpyc.utils.authenticators rpyc.utils.classic rpyc.utils.factory
    rpyc.utils.helpers rpyc.utils.registry rpyc.utils.server rpyc.version rpyc.ThreadedServer rpyc.ThreadPoolServer
    rpyc.ForkingServer rpyc.OneShotServer rpyc.ReconnectingClient rpyc.ReconnectEvent
    rpyc.utils.factory.UDPRegistryClient
""".split()  # fmt: skip
"""What RPyC's own `import rpyc` makes reachable, as found by looking; and what this package adds."""

NOT_NEEDED = """
    asyncio dataclasses hashlib hmac logging multiprocessing pathlib plumbum random rpyc.utils.authenticators
    rpyc.utils.registry rpyc.utils.server secrets ssl subprocess tempfile
""".split()  # fmt: skip


@pytest.mark.parametrize("name", REACHABLE)
def test_names_are_reachable_without_another_import(name: str) -> None:
    """Each in a process of its own, where nothing else has imported anything. A second look finds the same object."""
    run(f"import rpyc\nfirst = {name}\nassert first is {name}")


def test_star_import_has_every_public_name() -> None:
    run("import rpyc\nfrom rpyc import *\nassert all(globals()[name] is getattr(rpyc, name) for name in rpyc.__all__)")


def test_modules_list_the_names_that_they_have_not_imported_yet() -> None:
    run(
        "import rpyc\n"
        "assert {'ThreadedServer', 'classic', 'connect'} <= set(dir(rpyc))\n"
        "assert {'server', 'registry', 'factory'} <= set(dir(rpyc.utils))\n"
        "assert 'colls' in dir(rpyc.lib)"
    )


@pytest.mark.parametrize("module", ["rpyc", "rpyc.utils", "rpyc.lib", "rpyc.utils.factory"])
def test_other_names_are_missing_as_anywhere(module: str) -> None:
    run(
        "import rpyc\n"
        "try:\n"
        f"    {module}.nonsense\n"
        "except AttributeError as error:\n"
        f"    assert str(error) == \"module '{module}' has no attribute 'nonsense'\", error\n"
        "else:\n"
        "    raise AssertionError"
    )


def test_replaced_names_are_put_back() -> None:
    """What mock does to a name that nobody has asked for."""
    run(
        "from unittest import mock\n"
        "import rpyc\n"
        "with mock.patch('rpyc.ThreadedServer', 1):\n"
        "    assert rpyc.ThreadedServer == 1\n"
        "import rpyc.utils.server\n"
        "assert rpyc.ThreadedServer is rpyc.utils.server.ThreadedServer"
    )


def test_exceptions_of_those_modules_count_as_imported() -> None:
    """A received exception may be of any class that has been imported: these have, as far as programs know."""
    run(
        "import rpyc\n"
        "form = (('rpyc.utils.authenticators', 'AuthenticationError'), ('no',), (), 'far away')\n"
        "error = rpyc.core.vinegar.load(form, False, True, False)\n"
        "assert isinstance(error, rpyc.utils.authenticators.AuthenticationError)\n"
        "error = rpyc.core.vinegar.load(form, False, False, False)\n"
        "assert isinstance(error, rpyc.GenericException)"
    )


def test_what_most_programs_do_not_need_is_not_imported() -> None:
    run(
        "import sys\n"
        "before = set(sys.modules)\n"
        "import rpyc\n"
        f"found = {set(NOT_NEEDED)!r} & (set(sys.modules) - before)\n"
        "assert not found, found"
    )


def run(program: str) -> None:
    """Run a program in a fresh interpreter."""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
