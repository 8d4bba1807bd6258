"""A server's log, as the server itself writes it."""

from __future__ import annotations

import logging
import sys
from typing import Any


class Journal:
    """Writes to a logger, and goes on if that fails.

    A handler may be anybody's: a client of a classic server can attach one of its own, and take it along
    when it leaves. What is logged from then on fails, and the server must not end with it.
    """

    __slots__ = ("_logger",)

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger

    def debug(self, text: str, *args: Any, **kwargs: Any) -> None:
        """Log with that level, as the logger does."""
        self._say("debug", text, args, kwargs)

    def info(self, text: str, *args: Any, **kwargs: Any) -> None:
        """Log with that level, as the logger does."""
        self._say("info", text, args, kwargs)

    def warning(self, text: str, *args: Any, **kwargs: Any) -> None:
        """Log with that level, as the logger does."""
        self._say("warning", text, args, kwargs)

    def error(self, text: str, *args: Any, **kwargs: Any) -> None:
        """Log with that level, as the logger does."""
        self._say("error", text, args, kwargs)

    def exception(self, text: str, *args: Any, **kwargs: Any) -> None:
        """Log an error with the exception that is being handled."""
        self._say("exception", text, args, kwargs)

    def _say(self, level: str, text: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        try:
            if isinstance(self._logger, (logging.Logger, logging.LoggerAdapter)):
                # Who calls the method of this class is who logs.
                kwargs["stacklevel"] = 3
            getattr(self._logger, level)(text, *args, **kwargs)
        except Exception as error:
            # As the logging module does for handlers that fail; there may be no standard error.
            if logging.raiseExceptions and sys.stderr is not None:
                shown = text % args if args else text
                print(f"rpyc: the log failed ({error!r}) for: {shown}", file=sys.stderr)
