r"""Brine: the encoding of immutable values. One tag byte, then data; numbers are big-endian.

These values have one: ``None``, ``NotImplemented``, ``...``, ``bool``, ``int``, ``float``,
``complex``, ``bytes``, ``str``, and ``tuple``, ``frozenset`` and ``slice`` of such values. Exact
types only; everything else travels by reference. (``protocol.md``, section 4.)

# Theory of operation

There are two implementations with one meaning. The engine's is fast, and knows only the types
above. The one in this file is made of functions in two registries, by type and by tag, which a
program extends to give a type of its own a tag of its own::

    @brine.register(brine._dump_registry, Money)
    def _dump_money(obj, stream):
        stream.append(b"\x1c")
        brine._dump(obj.cents, stream)

    @brine.register(brine._load_registry, b"\x1c")
    def _load_money(stream):
        return Money(brine._load(stream))

    brine.simple_types = brine.simple_types | {Money}

The first change to a registry, or to a name of this module that the encoding is made of, is noticed
and switches the process to this file, for good. Until then nobody pays for the possibility.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Hashable
from io import BytesIO
from typing import IO, Any, TypeVar

from rpyc import _rpyc
from rpyc._rpyc import BrineError
from rpyc.lib.compat import Struct
from rpyc.lib.watching import WatchedDict, watched_module

_F = TypeVar("_F", bound=Callable[..., Any])
_DumpFunc = Callable[[Any, list[bytes]], None]
_LoadFunc = Callable[[IO[bytes]], Any]

MAX_DEPTH = 500
"""How deeply values may nest, the engine's limit too. Python's recursion limit may be lower."""

_MAX_DIGITS = 4300
"""Decimal digits of an int, whatever the interpreter would allow: reading them takes quadratic time."""


def dump(obj: object) -> bytes:
    """Encode an object.

    Raises ``TypeError`` if it has no encoding. Two kinds of value that :func:`dumpable` accepts
    fail too: text with lone surrogates (``UnicodeEncodeError``) and ints longer than the
    interpreter's limit of digits (``ValueError``). Values nested too deeply: ``RecursionError``.
    """
    if not _is_extended:
        return _rpyc.brine_dump(obj)
    stream: list[bytes] = []
    _dump(obj, stream)
    return b"".join(stream)


def load(data: bytes | bytearray | memoryview) -> Any:
    """Decode the value that ``data`` starts with.

    Raises :class:`rpyc._rpyc.BrineError`, a ``ValueError``, if there is none, and
    ``RecursionError`` if it is nested too deeply.
    """
    if not _is_extended:
        return _rpyc.brine_load(data)
    return _load(BytesIO(data))


def dumpable(obj: object) -> bool:
    """Whether an object is of a type that has an encoding, and so are all its parts.

    Raises ``RecursionError`` if it is nested too deeply to tell.
    """
    if not _is_extended:
        return _rpyc.brine_dumpable(obj)
    return _dumpable(obj)


def register(coll: dict[Any, Any], key: Hashable) -> Callable[[_F], _F]:
    """Return a decorator that puts a function under ``key`` into a registry."""

    def put(func: _F) -> _F:
        coll[key] = func
        return func

    return put


def _extended() -> bool:
    """Whether a program has extended the encoding, so that the engine's own must not be used."""
    return _is_extended


# Tags.
TAG_NONE = b"\x00"
TAG_EMPTY_STR = b"\x01"
TAG_EMPTY_TUPLE = b"\x02"
TAG_TRUE = b"\x03"
TAG_FALSE = b"\x04"
TAG_NOT_IMPLEMENTED = b"\x05"
TAG_ELLIPSIS = b"\x06"
TAG_UNICODE = b"\x08"
TAG_STR1 = b"\x0a"
TAG_STR2 = b"\x0b"
TAG_STR3 = b"\x0c"
TAG_STR4 = b"\x0d"
TAG_STR_L1 = b"\x0e"
TAG_STR_L4 = b"\x0f"
TAG_TUP1 = b"\x10"
TAG_TUP2 = b"\x11"
TAG_TUP3 = b"\x12"
TAG_TUP4 = b"\x13"
TAG_TUP_L1 = b"\x14"
TAG_TUP_L4 = b"\x15"
TAG_INT_L1 = b"\x16"
TAG_INT_L4 = b"\x17"
TAG_FLOAT = b"\x18"
TAG_SLICE = b"\x19"
TAG_FSET = b"\x1a"
TAG_COMPLEX = b"\x1b"

I1 = Struct("!B")
I4 = Struct("!L")
F8 = Struct("!d")
C16 = Struct("!dd")
I8I8 = Struct("!QQ")

_SHORT_STR_TAGS = (TAG_EMPTY_STR, TAG_STR1, TAG_STR2, TAG_STR3, TAG_STR4)
_SHORT_TUP_TAGS = (TAG_EMPTY_TUPLE, TAG_TUP1, TAG_TUP2, TAG_TUP3, TAG_TUP4)
_BYTES_TAGS = frozenset({*_SHORT_STR_TAGS, TAG_STR_L1, TAG_STR_L4})

simple_types: frozenset[type] = frozenset(
    {
        type(None),
        int,
        bool,
        float,
        bytes,
        str,
        complex,
        type(NotImplemented),
        type(Ellipsis),
    }
)
"""The types whose objects are always dumpable."""


class _Nesting(threading.local):
    """How deep the values are that this thread encodes or decodes right now."""

    depth = 0

    def __enter__(self) -> None:
        if self.depth > MAX_DEPTH:
            raise RecursionError("values are nested too deeply")
        self.depth += 1

    def __exit__(self, *exc_info: object) -> None:
        self.depth -= 1


_nesting = _Nesting()


def _dumpable(obj: object) -> bool:
    kind = type(obj)
    if kind in simple_types:
        return True
    if kind is tuple or kind is frozenset:
        return all(map(_dumpable, obj))  # type: ignore[call-overload]
    if kind is slice:
        return _dumpable(obj.start) and _dumpable(obj.stop) and _dumpable(obj.step)  # type: ignore[attr-defined]
    return False


def _dump(obj: object, stream: list[bytes]) -> None:
    """Encode an object and append the parts to a list."""
    with _nesting:
        _dump_registry.get(type(obj), _undumpable)(obj, stream)


def _undumpable(obj: object, stream: list[bytes]) -> None:
    try:
        text = str(obj)
    except Exception:
        text = f"a {type(obj).__name__} object"
    raise TypeError(f"cannot dump {text}")


def _dump_none(obj: None, stream: list[bytes]) -> None:
    stream.append(TAG_NONE)


def _dump_not_implemented(obj: object, stream: list[bytes]) -> None:
    stream.append(TAG_NOT_IMPLEMENTED)


def _dump_ellipsis(obj: object, stream: list[bytes]) -> None:
    stream.append(TAG_ELLIPSIS)


def _dump_bool(obj: bool, stream: list[bytes]) -> None:
    stream.append(TAG_TRUE if obj else TAG_FALSE)


def _dump_int(obj: int, stream: list[bytes]) -> None:
    immediate = IMM_INTS.get(obj)
    if immediate is not None:
        stream.append(immediate)
        return
    digits = str(obj).encode("ascii")
    stream.append(_length(len(digits), TAG_INT_L1, TAG_INT_L4))
    stream.append(digits)


def _dump_float(obj: float, stream: list[bytes]) -> None:
    stream.append(TAG_FLOAT + F8.pack(obj))


def _dump_complex(obj: complex, stream: list[bytes]) -> None:
    stream.append(TAG_COMPLEX + C16.pack(obj.real, obj.imag))


def _dump_bytes(obj: bytes, stream: list[bytes]) -> None:
    if len(obj) < len(_SHORT_STR_TAGS):
        stream.append(_SHORT_STR_TAGS[len(obj)])
    else:
        stream.append(_length(len(obj), TAG_STR_L1, TAG_STR_L4))
    stream.append(obj)


def _dump_str(obj: str, stream: list[bytes]) -> None:
    stream.append(TAG_UNICODE)
    _dump_bytes(obj.encode("utf-8"), stream)


def _dump_tuple(obj: tuple[object, ...], stream: list[bytes]) -> None:
    if len(obj) < len(_SHORT_TUP_TAGS):
        stream.append(_SHORT_TUP_TAGS[len(obj)])
    else:
        stream.append(_length(len(obj), TAG_TUP_L1, TAG_TUP_L4))
    for item in obj:
        _dump(item, stream)


def _dump_slice(obj: Any, stream: list[bytes]) -> None:
    stream.append(TAG_SLICE)
    _dump_tuple((obj.start, obj.stop, obj.step), stream)


def _dump_frozenset(obj: frozenset[object], stream: list[bytes]) -> None:
    stream.append(TAG_FSET)
    _dump_tuple(tuple(obj), stream)


def _length(length: int, tag1: bytes, tag4: bytes) -> bytes:
    return tag1 + I1.pack(length) if length < 256 else tag4 + I4.pack(length)


def _load(stream: IO[bytes]) -> Any:
    """Decode the next value of a stream of bytes."""
    tag = _take(stream, 1)
    if tag in IMM_INTS_LOADER:
        return IMM_INTS_LOADER[tag]
    load_value = _load_registry.get(tag)
    if load_value is None:
        raise BrineError(f"decoding a value: unknown tag 0x{tag.hex()}")
    with _nesting:
        return load_value(stream)


def _take(stream: IO[bytes], count: int) -> bytes:
    """Read exactly ``count`` bytes."""
    data = stream.read(count)
    if len(data) < count:
        raise BrineError(f"decoding a value: the data ends {count - len(data)} bytes too early")
    return data


def _take1(stream: IO[bytes]) -> int:
    number: int = I1.unpack(_take(stream, I1.size))[0]
    return number


def _take4(stream: IO[bytes]) -> int:
    number: int = I4.unpack(_take(stream, I4.size))[0]
    return number


def _constant(value: object) -> _LoadFunc:
    return lambda stream: value


def _bytes_of(length: int) -> _LoadFunc:
    return lambda stream: _take(stream, length)


def _tuple_of(count: int) -> _LoadFunc:
    return lambda stream: _load_items(stream, count)


def _load_items(stream: IO[bytes], count: int) -> tuple[object, ...]:
    # The count is the peer's word: the list grows with the data.
    return tuple([_load(stream) for _ in range(count)])


def _load_str_l1(stream: IO[bytes]) -> bytes:
    return _take(stream, _take1(stream))


def _load_str_l4(stream: IO[bytes]) -> bytes:
    return _take(stream, _take4(stream))


def _load_tup_l1(stream: IO[bytes]) -> tuple[object, ...]:
    return _load_items(stream, _take1(stream))


def _load_tup_l4(stream: IO[bytes]) -> tuple[object, ...]:
    return _load_items(stream, _take4(stream))


def _load_unicode(stream: IO[bytes]) -> str:
    tag = _take(stream, 1)
    if tag not in _BYTES_TAGS:
        raise BrineError(f"decoding a text: it holds no bytes, but tag 0x{tag.hex()}")
    data: bytes = _load_registry[tag](stream)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BrineError(f"decoding a text: {error}") from None


def _load_int_l1(stream: IO[bytes]) -> int:
    return _decimal(_take(stream, _take1(stream)))


def _load_int_l4(stream: IO[bytes]) -> int:
    return _decimal(_take(stream, _take4(stream)))


def _decimal(digits: bytes) -> int:
    text = digits.removeprefix(b"-")
    if not text.isdigit():
        raise BrineError(f"decoding an int: {digits[:20]!r} is not a decimal number")
    if len(text) > _MAX_DIGITS:
        raise BrineError(f"decoding an int: {len(text)} digits, more than {_MAX_DIGITS}")
    try:
        return int(digits)
    except ValueError as error:
        raise BrineError(f"decoding an int: {error}") from None


def _load_float(stream: IO[bytes]) -> float:
    number: float = F8.unpack(_take(stream, F8.size))[0]
    return number


def _load_complex(stream: IO[bytes]) -> complex:
    return complex(*C16.unpack(_take(stream, C16.size)))


def _load_slice(stream: IO[bytes]) -> Any:
    items = _load(stream)
    if type(items) is not tuple or len(items) != 3:
        raise BrineError("decoding a slice: it holds no tuple of three")
    return slice(*items)


def _load_frozenset(stream: IO[bytes]) -> frozenset[object]:
    items = _load(stream)
    if type(items) is not tuple:
        raise BrineError("decoding a frozenset: it holds no tuple")
    try:
        _check_hashes(items)
        return frozenset(items)
    except TypeError as error:
        raise BrineError(f"decoding a frozenset: {error}") from None


_MOST_ALIKE = 100
"""Items of a frozenset that may have one hash."""


def _check_hashes(items: tuple[object, ...]) -> None:
    # The hashes of numbers are no secret: a set of such that were chosen to have the same one takes
    # time in proportion to the square of their number.
    if len(items) <= _MOST_ALIKE:
        return
    counts: dict[int, int] = {}
    for item in items:
        alike = hash(item)
        count = counts[alike] = counts.get(alike, 0) + 1
        if count > _MOST_ALIKE:
            raise BrineError(
                f"decoding a frozenset: more than {_MOST_ALIKE} of its items have one hash"
            )


_is_extended = False


def _note_extension() -> None:
    global _is_extended
    if not _is_extended:
        _is_extended = True
        _rpyc.extension_changed()


IMM_INTS: dict[int, bytes] = WatchedDict(
    {i: I1.pack(i + 0x50) for i in range(-48, 160)}, _note_extension
)
"""The ints that are one byte, and that byte."""

IMM_INTS_LOADER: dict[bytes, int] = WatchedDict(
    {tag: i for i, tag in IMM_INTS.items()}, _note_extension
)
"""The converse."""

_dump_registry: dict[type, _DumpFunc] = WatchedDict(
    {
        type(None): _dump_none,
        type(NotImplemented): _dump_not_implemented,
        type(Ellipsis): _dump_ellipsis,
        bool: _dump_bool,
        int: _dump_int,
        float: _dump_float,
        complex: _dump_complex,
        bytes: _dump_bytes,
        str: _dump_str,
        tuple: _dump_tuple,
        slice: _dump_slice,
        frozenset: _dump_frozenset,
    },
    _note_extension,
)

_load_registry: dict[bytes, _LoadFunc] = WatchedDict(
    {
        TAG_NONE: _constant(None),
        TAG_NOT_IMPLEMENTED: _constant(NotImplemented),
        TAG_ELLIPSIS: _constant(Ellipsis),
        TAG_TRUE: _constant(True),
        TAG_FALSE: _constant(False),
        **{tag: _bytes_of(length) for length, tag in enumerate(_SHORT_STR_TAGS)},
        TAG_STR_L1: _load_str_l1,
        TAG_STR_L4: _load_str_l4,
        **{tag: _tuple_of(count) for count, tag in enumerate(_SHORT_TUP_TAGS)},
        TAG_TUP_L1: _load_tup_l1,
        TAG_TUP_L4: _load_tup_l4,
        TAG_UNICODE: _load_unicode,
        TAG_INT_L1: _load_int_l1,
        TAG_INT_L4: _load_int_l4,
        TAG_FLOAT: _load_float,
        TAG_SLICE: _load_slice,
        TAG_FSET: _load_frozenset,
        TAG_COMPLEX: _load_complex,
    },
    _note_extension,
)

sys.modules[__name__].__class__ = watched_module(
    {
        "C16",
        "F8",
        "I1",
        "I4",
        "IMM_INTS",
        "IMM_INTS_LOADER",
        "_dump",
        "_dump_registry",
        "_load",
        "_load_registry",
        "dump",
        "dumpable",
        "load",
        "simple_types",
    },
    _note_extension,
)
