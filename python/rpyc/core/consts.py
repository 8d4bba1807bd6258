"""The numbers of the protocol: 3 messages, 4 labels, 20 handlers, and the extensions.

Source: ``protocol.md``, sections 5, 6, 14, 18 and 19.
"""

from __future__ import annotations

# Messages: the first byte of a payload.
MSG_REQUEST = 1
MSG_REPLY = 2
MSG_EXCEPTION = 3

# Labels: how a boxed value travels. "Local" and "remote" are from the receiver's point of view.
LABEL_VALUE = 1
LABEL_TUPLE = 2
LABEL_LOCAL_REF = 3
LABEL_REMOTE_REF = 4

# Handlers: what a request asks for.
HANDLE_PING = 1
HANDLE_CLOSE = 2
HANDLE_GETROOT = 3
HANDLE_GETATTR = 4
HANDLE_DELATTR = 5
HANDLE_SETATTR = 6
HANDLE_CALL = 7
HANDLE_CALLATTR = 8
HANDLE_REPR = 9
HANDLE_STR = 10
HANDLE_CMP = 11
HANDLE_HASH = 12
HANDLE_DIR = 13
HANDLE_PICKLE = 14
HANDLE_DEL = 15
HANDLE_INSPECT = 16
HANDLE_BUFFITER = 17
HANDLE_OLDSLICING = 18
HANDLE_CTXEXIT = 19
HANDLE_INSTANCECHECK = 20

# Extensions, which RPyC does not have: `protocol.md`, section 19.
HANDLE_FEATURES = 100
HANDLE_PICKLE_BUFFERS = 101
HANDLE_HEARTBEAT = 110
HANDLE_CANCEL = 111
HANDLE_READ_AHEAD = 102
HANDLE_BATCH = 103

EXC_STOP_ITERATION = 1
"""Stands for a whole serialized exception whose class is exactly ``StopIteration``."""

STREAM_CHUNK = 64000
"""The most bytes a stream passes to one call of the operating system."""
