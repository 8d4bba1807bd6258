"""Exception classes that both processes of a scenario can import by the same name."""

from __future__ import annotations


class TeapotError(Exception):
    """A class of our own: `args` is (code, text), and `code` is kept as an attribute too."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(code, text)
        self.code = code
