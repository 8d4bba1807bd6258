"""Pickles with their large buffers apart, as values that travel.

Large buffers (the memory of NumPy arrays, say) don't pass through the pickle: they are received into
the memory that the objects use. (``protocol.md``, section 19; PEP 574.)
"""

from __future__ import annotations

import pickle
from typing import Any

from rpyc import _rpyc

Parts = tuple[bytes, tuple[tuple[bool, bytes], ...]]
"""A pickle, and its buffers: may one be written to, and its bytes."""


def dump(obj: Any) -> Parts:
    """Pickle an object. The buffers are copies: they travel later than the object may change."""
    buffers: list[pickle.PickleBuffer] = []
    try:
        data = pickle.dumps(obj, 5, buffer_callback=buffers.append)
    except pickle.PicklingError:
        # A buffer that is not contiguous, most likely. Protocol 4 has no buffers to offer.
        return pickle.dumps(obj, 4), ()
    views = [buffer.raw() for buffer in buffers]
    return data, tuple((not view.readonly, view.tobytes()) for view in views)


def load(parts: Parts) -> Any:
    """Unpickle what was received. Runs code that the peer chose."""
    data, buffers = parts
    return pickle.loads(data, buffers=_rpyc.take_buffers(buffers))
