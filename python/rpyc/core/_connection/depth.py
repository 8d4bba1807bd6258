"""Room on Python's stack for what must still be done there."""

from __future__ import annotations

FRAMES = 100
"""Frames that closing a connection and answering with an exception may take, callbacks included."""


def keep_room(frames: int = FRAMES) -> None:
    """Raise ``RecursionError`` unless so many further frames fit on the stack."""
    if frames:
        keep_room(frames - 1)
