"""A numpy array out of a pickle, by reading the pickle's text. Nothing is unpickled, not even with a list of
what is allowed: C's own unpickler can be made to read wild memory by a file that names nothing but numpy.

    read_array(data)     -> the array, or ValueError

DataComp's script saved its centroids with `torch.save(array, pickle_protocol=4)`, which puts such a pickle
into a zip. Of a pickle's 68 operations, an array needs those in `_Reader`: they build a tree of tuples,
numbers, bytes and names. Then the tree must be one of the two forms that numpy writes:

    protocol 2 to 4    _reconstruct(ndarray, (0,), b"b"), state (1, shape, dtype, by column, bytes)
    protocol 5         _frombuffer(bytes, dtype, shape, order)

Protocol 2 has no bytes: there they are a latin-1 text, given to `_codecs.encode`.
"""

import math
import pickletools
import struct
from typing import Any, NamedTuple

import numpy as np

MOST_OPERATIONS = 1000  # an array has about 60
MOST_DEPTH = 8  # of tuples in tuples; an array has 2
DTYPE = ("f2", "f4", "f8")
ORDERS = ("<", ">", "=")
MULTIARRAY = ("numpy.core.multiarray", "numpy._core.multiarray")  # before and since numpy 2
NUMERIC = ("numpy.core.numeric", "numpy._core.numeric")


class Name(NamedTuple):
    """A global that the pickle names; it is never imported."""

    module: str
    name: str


class Call(NamedTuple):
    """What the pickle would call, and the state that it would set on the result."""

    function: Any
    arguments: Any
    state: Any = None


class _Mark(NamedTuple):
    """Where a tuple begins."""


_MARK = _Mark()
_CONSTANTS = {
    "NONE": None,
    "NEWTRUE": True,
    "NEWFALSE": False,
    "EMPTY_TUPLE": (),
    "MARK": _MARK,
}
_VALUES = ("BININT", "BININT1", "BININT2", "LONG1", "LONG4", "INT", "LONG")
_TEXTS = ("SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8")
_BYTES = ("SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8")
_PUTS = ("PUT", "BINPUT", "LONG_BINPUT")
_GETS = ("GET", "BINGET", "LONG_BINGET")
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def read_array(data: bytes) -> np.ndarray:
    """The array of floats in a pickle of protocol 2 to 5, with numpy's dtype and shape. Raises ValueError for
    anything else."""
    try:
        tree = _Reader().read(data)
    except (IndexError, KeyError, TypeError, OverflowError, struct.error, ValueError) as error:
        text = str(error) if isinstance(error, ValueError) else "garbled"
        raise ValueError(f"its pickle cannot be read: {text}") from None
    dtype, shape, by_column, raw = _parts(tree)
    if not isinstance(shape, tuple) or not all(type(n) is int and 0 <= n < 1 << 40 for n in shape):
        raise ValueError(f"its pickle has the shape {shape!r:.80}")
    if math.prod(shape) * dtype.itemsize != len(raw):
        raise ValueError(f"its pickle says {dtype} {shape} and holds {len(raw):,} bytes")
    array: np.ndarray = np.frombuffer(raw, dtype).reshape(shape, order="F" if by_column else "C")
    return array


class _Reader:
    """A machine with a stack of values; it knows how to build tuples and to note calls, and runs nothing."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def read(self, data: bytes) -> Any:
        """The value of a pickle. Raises ValueError, and what a garbled one leads to."""
        for number, (operation, argument, _) in enumerate(pickletools.genops(data)):
            if number > MOST_OPERATIONS:
                raise ValueError(f"it has more than {MOST_OPERATIONS} operations, an array has about 60")
            if operation.name == "STOP":
                break
            self._take(operation.name, argument)
        (value,) = self.stack
        return value

    def _take(self, name: str, argument: Any) -> None:
        """One operation."""
        if name in ("PROTO", "FRAME"):
            return
        if name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif name in _VALUES or name in _TEXTS or name in _BYTES:
            self.stack.append(argument)
        elif name in _PUTS or name == "MEMOIZE":
            self.memo[len(self.memo) if name == "MEMOIZE" else int(argument)] = self.stack[-1]
        elif name in _GETS:
            self.stack.append(self.memo[int(argument)])
        else:
            self._build(name, argument)

    def _build(self, name: str, argument: Any) -> None:
        """An operation that makes one value of several."""
        match name:
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                self.stack.append(_shallow(tuple(self._pop() for _ in range(_TUPLES[name]))[::-1]))
            case "TUPLE":
                values = []
                while (value := self._pop(marks=True)) is not _MARK:
                    values.append(value)
                self.stack.append(_shallow(tuple(values[::-1])))
            case "GLOBAL":
                self.stack.append(Name(*argument.split(" ", 1)))
            case "STACK_GLOBAL":
                attribute, module = self._pop(), self._pop()
                if not isinstance(module, str) or not isinstance(attribute, str):
                    raise ValueError("it names something that is no text")
                self.stack.append(Name(module, attribute))
            case "REDUCE":
                arguments, function = self._pop(), self._pop()
                self.stack.append(_known(Call(function, arguments)))
            case "BUILD":
                state, call = self._pop(), self._pop()
                if not isinstance(call, Call) or call.state is not None:
                    raise ValueError("it sets the state of something else than an array or a dtype")
                self.stack.append(call._replace(state=state))
            case _:
                raise ValueError(f"it has the operation {name}, which no array has")

    def _pop(self, marks: bool = False) -> Any:
        value = self.stack.pop()
        if value is _MARK and not marks:
            raise ValueError("a mark stands where a value must be")
        return value


def _shallow(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """The same tuple. Raises ValueError if it is nested deeper than any array's."""
    level: list[Any] = [values]
    for _ in range(MOST_DEPTH):
        level = [inner for value in level if type(value) is tuple for inner in value]
        if len(level) > MOST_OPERATIONS:
            raise ValueError("it has tuples of tuples, which no array has")
    if level:
        raise ValueError("it has tuples of tuples, which no array has")
    return values


def _known(call: Call) -> Any:
    """A call that an array's pickle makes; one that makes bytes of a text is made here. Raises ValueError for
    any other."""
    match call:
        case Call(Name("_codecs", "encode"), (str(text), "latin1" | "latin-1")):
            return text.encode("latin-1")
        case Call(Name(module, "_reconstruct"), (Name("numpy", "ndarray"), (0,), _)) if module in MULTIARRAY:
            return call
        case Call(Name(module, "_frombuffer"), (_, _, _, _)) if module in NUMERIC:
            return call
        case Call(Name("numpy", "dtype"), (str(), *_)):
            return call
    raise ValueError(f"it calls {_shown(call.function)}, must hold an array of floats and nothing else")


def _shown(function: Any) -> str:
    """A name that a file gives, for a message."""
    return repr(f"{function.module:.60}.{function.name:.60}") if isinstance(function, Name) else "no function"


def _parts(tree: Any) -> tuple[np.dtype, Any, bool, bytes]:
    """(dtype, shape, by column, bytes) of the tree of an array. Raises ValueError for any other tree."""
    match tree:
        case Call(Name(_, "_reconstruct"), _, (1, shape, dtype, (0 | 1) as by_column, raw)):
            pass
        case Call(Name(_, "_frombuffer"), (raw, dtype, shape, ("C" | "F") as order), None):
            by_column = order == "F"
        case _:
            raise ValueError("its pickle holds no array of floats")
    if not isinstance(raw, bytes | bytearray):
        raise ValueError(f"its pickle has an array of {type(raw).__name__}, must be bytes")
    match dtype:
        case Call(Name("numpy", "dtype"), (str(kind), *_), (_, order, None, None, None, *_)):
            if kind in DTYPE and order in ORDERS:
                return np.dtype(order + kind), shape, bool(by_column), bytes(raw)
            raise ValueError(
                f"its pickle has numbers of the type {order!r:.9} {kind[:9]!r}, must be f2, f4 or f8"
            )
    raise ValueError("its pickle has an array without a dtype")
