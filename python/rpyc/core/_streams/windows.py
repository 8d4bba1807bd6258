"""The streams that only Windows has: importable, as in RPyC, and refused."""

from __future__ import annotations

from typing import NoReturn

from rpyc.core._streams.interface import Stream


class _WindowsStream(Stream):
    """A kind of stream that only Windows has."""

    __slots__ = ()

    def __init__(self, *args: object, **kwargs: object) -> None:
        self._refuse()

    @classmethod
    def from_std(cls) -> NoReturn:
        """Raise ``NotImplementedError``."""
        cls._refuse()

    @classmethod
    def create_pair(cls) -> NoReturn:
        """Raise ``NotImplementedError``."""
        cls._refuse()

    @classmethod
    def _refuse(cls) -> NoReturn:
        raise NotImplementedError(
            f"{cls.__name__} is a kind of pipe that only Windows has; "
            "use SocketStream.unix_connect or PipeStream"
        )


class Win32PipeStream(_WindowsStream):
    """Anonymous pipes of Windows. Making one raises ``NotImplementedError``."""

    __slots__ = ()


class NamedPipeStream(_WindowsStream):
    """Named pipes of Windows. Making one raises ``NotImplementedError``."""

    __slots__ = ()

    @classmethod
    def create_server(cls, pipename: str, connect: bool = True) -> NoReturn:
        """Raise ``NotImplementedError``."""
        cls._refuse()

    @classmethod
    def create_client(cls, pipename: str) -> NoReturn:
        """Raise ``NotImplementedError``."""
        cls._refuse()
