"""A seeded generator in, a value no server should ever be given out; one function per kind.

Everything here is legal Python that some application has handed to a model or a library once.
"""

from __future__ import annotations

import datetime as dt
import enum
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from decimal import Decimal
from fractions import Fraction
from functools import cache
from random import Random
from types import SimpleNamespace
from typing import Any, Final
from unittest.mock import MagicMock

import numpy as np
from hypothesis import HealthCheck, settings

__all__ = [
    "KINDS",
    "MANY",
    "NUMBERS",
    "TEXTS",
    "Held",
    "Hostile",
    "Tensor",
    "hostile",
    "value",
    "warm",
]

MANY: Final = settings(
    deadline=None,
    max_examples=5_000 if "OTEL_ML_FAULTS_LONG" in os.environ else 15,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
"""Settings of properties: with ``OTEL_ML_FAULTS_LONG`` set, a hundred times as many examples."""

HUGE: Final = 10**400
NUMBERS: Final = (
    *(float("nan"), float("inf"), float("-inf"), -0.0, 5e-324, 2.2e-308, 1.7e308, -1.7e308),
    *(0, 1, -1, 2**63, -(2**63), 2**64 - 1, 2**70, HUGE, -HUGE, True, False, 0.1, 1e16, 1 / 3),
    *(np.bool_(True), np.float16(6e-8), np.float32(1e-45), np.longdouble("1e4000")),
    *(np.uint64(2**64 - 1), np.int8(-128), np.float64("nan"), np.complex128(1j), 1 + 2j),
    *(Decimal("1E+400"), Decimal("NaN"), Decimal("sNaN"), Decimal("-Infinity"), Decimal("0.10")),
    *(Fraction(1, 3), Fraction(HUGE, 7), Fraction(1, HUGE)),
)
TEXTS: Final = (
    *("", " ", "\ud800", "a\udfffb", "\0", "nul\0in", "\u202eright to left\u202c", "a\u200bb"),
    *("\x1b[31m", "line\nbreak\r", "9" * 400, "1e999", "-inf", "NaN", "1_000", "٣", "0x10"),
    *("x" * 5000, "é", "e\u0301", "{{ query }}", 'x"} or vector(1) #', b"\xff\xfe", b"text"),
)
_ARRAYS: Final = "f2 >f4 f4 f8 >f8 g i1 >i2 u8 i8 ? c16 M8[ns] M8[D] m8[us] S3 U3 V4 O"
ARRAYS: Final = tuple(map(np.dtype, _ARRAYS.split()))
RAISED: Final = (ValueError, TypeError, OverflowError, RecursionError, MemoryError, SystemExit)


class Colour(enum.Enum):
    """A category that is neither text nor number."""

    RED = 1


class Integers(enum.IntEnum):
    """A number that is a name."""

    ONE = 1


class Text(str):
    """Text of a type of its own."""

    __slots__ = ()


class List(list[Any]):
    """A list of a type of its own."""


class Hostile:
    """An object of which nothing can be asked without an error.

    Parameters
    ----------
    error
        What every question raises.
    """

    def __init__(self, error: type[BaseException] = ValueError) -> None:
        object.__setattr__(self, "error", error)


def _ask(self: Hostile, *_: Any, **__: Any) -> Any:
    raise object.__getattribute__(self, "error")("of the application")


_QUESTIONS: Final = """
    __str__ __repr__ __hash__ __eq__ __ne__ __lt__ __le__ __gt__ __ge__ __len__ __array__ __iter__
    __float__ __int__ __index__ __bool__ __getitem__ __contains__ __getattr__ __call__ __copy__
    __deepcopy__ __reduce_ex__ __format__ __bytes__ __complex__ __round__ __array_ufunc__
    __array_function__ __array_interface__ __array_struct__ __dataframe__ __dlpack__ __enter__
    __arrow_c_stream__ __narwhals_dataframe__ __next__ __setattr__ __add__ __radd__ __sizeof__
"""
for _name in _QUESTIONS.split():
    setattr(Hostile, _name, _ask)


class Held:
    """An object that answers nothing until it is let go."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.go = threading.Event()

    def _wait(self, *_: Any, **__: Any) -> Any:
        self.reached.set()
        assert self.go.wait(60)
        return 1

    def __array__(self, *_: Any, **__: Any) -> Any:
        self._wait()
        return np.array([[0.5]])

    def __str__(self) -> str:
        return str(self._wait())

    __float__ = __int__ = __index__ = __len__ = __hash__ = __bool__ = _wait
    __eq__ = __lt__ = __le__ = __gt__ = __ge__ = _wait

    def __iter__(self) -> Any:
        self._wait()
        return iter(())


class Recursive:
    """An object that never comes to an end."""

    def __str__(self) -> str:
        return str(self)

    __repr__ = __str__

    def __float__(self) -> float:
        return float(self)

    def __array__(self, *_: Any, **__: Any) -> Any:
        return np.asarray(self)

    def __iter__(self) -> Iterator[Any]:
        return iter(self)


class Tensor:
    """What a tensor on a device or in a graph looks like: reading it is forbidden or slow.

    Parameters
    ----------
    data
        What it holds.
    kind
        ``cpu``, ``cuda``, ``grad``, ``meta``, ``symbolic`` or ``tracer``.
    """

    def __init__(self, data: Any, kind: str = "cpu") -> None:
        self.data = np.asarray(data)
        self.kind = kind
        self.is_cuda = kind == "cuda"
        self.is_meta = kind == "meta"
        self.requires_grad = kind == "grad"
        self.asked: list[str] = []

    @property
    def shape(self) -> tuple[int, ...]:
        self.asked.append("shape")
        return self.data.shape

    @property
    def dtype(self) -> Any:
        self.asked.append("dtype")
        return self.data.dtype

    def __len__(self) -> int:
        self.asked.append("len")
        return len(self.data)

    def __bool__(self) -> bool:
        self.asked.append("bool")
        raise TypeError("the truth value of a tensor is not known while a graph is made")

    def __array__(self, *_: Any, **__: Any) -> Any:
        self.asked.append("array")
        if self.kind in ("cuda", "grad", "meta", "symbolic", "tracer"):
            raise TypeError(f"a {self.kind} tensor cannot be read from the host")
        return self.data

    def __dlpack__(self, **_: Any) -> Any:
        self.asked.append("dlpack")
        raise BufferError("not from here")

    def detach(self) -> Tensor:
        self.asked.append("detach")
        return self

    cpu = detach


@cache
def _mock() -> Any:
    return MagicMock()


def hostile(rng: Random) -> Any:
    """Return an object whose questions raise, recurse, or are answered by anything."""
    made: list[Callable[[], Any]] = [
        lambda: Hostile(rng.choice(RAISED)),
        Recursive,
        _mock,
        lambda: SimpleNamespace(shape=(-1, "x"), dtype=Hostile()),
        lambda: Tensor([[0.5, 0.5]], rng.choice(["cpu", "cuda", "grad", "meta", "symbolic"])),
        object,
        lambda: type,
        lambda: lambda: 1,
    ]
    return rng.choice(made)()


def cell(rng: Random) -> Any:
    """Return what stands in one place of a table."""
    kind = rng.random()
    if kind < 0.3:
        return rng.choice(NUMBERS)
    if kind < 0.5:
        return rng.choice(TEXTS)
    if kind < 0.6:
        return rng.choice(_times())
    if kind < 0.7:
        return hostile(rng)
    if kind < 0.75:
        return rng.choice([None, ..., Colour.RED, Integers.ONE, Text("t"), [1], {}, (), {1}])
    return rng.uniform(-1, 1)


@cache
def _times() -> tuple[Any, ...]:
    utc = dt.timezone.utc
    return (
        dt.datetime(1, 1, 1),
        dt.datetime(9999, 12, 31, 23, 59, 59, 999_999),
        dt.datetime(1, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=14))),
        dt.datetime(9999, 12, 31, tzinfo=dt.timezone(dt.timedelta(hours=-14))),
        dt.datetime(2026, 3, 29, 2, 30, tzinfo=utc),
        dt.date(1, 1, 1),
        dt.time(23, 59),
        dt.timedelta.max,
        np.datetime64("NaT", "s"),
        np.datetime64("2262-04-12", "D"),
        np.datetime64("-9999-01-01", "D"),
        np.timedelta64("NaT", "s"),
        np.timedelta64(2**62, "ns"),
    )


def sequence(rng: Random) -> Any:
    """Return a flat column."""
    items = [cell(rng) for _ in range(rng.choice([0, 1, 2, 3, 7]))]
    made: list[Callable[[Any], Any]] = [list, tuple, List, iter, _numbered, _objects]
    return rng.choice(made)(items)


def _numbered(items: list[Any]) -> dict[int, Any]:
    return dict(enumerate(items))


def _objects(items: list[Any]) -> Any:
    out = np.empty(len(items), dtype=object)
    for i, item in enumerate(items):
        out[i] = item
    return out


def rows(rng: Random) -> Any:
    """Return rows that are more or less a table: ragged, nested, mixed."""
    width = rng.choice([0, 1, 2, 3])
    shape: list[Callable[[Any], Any]] = [list, tuple, list, _objects]
    made = []
    for _ in range(rng.choice([0, 1, 2, 5])):
        ragged = rng.random() < 0.1
        row = [cell(rng) for _ in range(width + ragged)]
        made.append(rng.choice(shape)(row))
    if rng.random() < 0.2:
        return [dict(zip("abc", row, strict=False)) for row in made]
    return tuple(made) if rng.random() < 0.2 else made


def mapping(rng: Random) -> Any:
    """Return columns by name, with names that are none."""
    names = [rng.choice([*TEXTS[:12], "a", "b", "c", 1, None, (1, 2), 2.5]) for _ in range(3)]
    n = rng.choice([0, 1, 2])
    return {name: [cell(rng) for _ in range(n + (rng.random() < 0.1))] for name in names}


def array(rng: Random) -> Any:
    """Return an array of any type, order, stride and number of dimensions."""
    shape = rng.choice([(), (0,), (1,), (3,), (0, 2), (2, 0), (1, 2), (4, 2), (2, 2, 2), (3, 1)])
    kind = rng.choice(ARRAYS)
    plain = np.array([rng.randrange(0, 2) for _ in range(int(np.prod(shape)))])
    if kind.kind == "V":
        made: Any = np.zeros(shape, dtype=kind)
    elif kind.kind == "O":
        made = _objects([cell(rng) for _ in plain]).reshape(shape)
    else:
        made = plain.reshape(shape).astype(kind)
    if made.dtype.kind == "f" and rng.random() < 0.5 and made.size:
        made.flat[0] = rng.choice([np.nan, np.inf, -np.inf, -0.0])
    twist = rng.random()
    if twist < 0.1:
        return made[..., ::-1] if made.ndim else made
    if twist < 0.2:
        return np.asfortranarray(made)
    if twist < 0.3:
        return np.ma.masked_array(made, mask=rng.random() < 0.5)
    if twist < 0.35:
        return np.broadcast_to(made, (2, *made.shape))
    if twist < 0.4:
        return np.array([(1, 2.0, b"x")] * 3, dtype=[("a", "i4"), ("b", ">f8"), ("c", "S1")])
    if twist < 0.45:
        return made.view(np.matrix) if made.ndim == 2 else made
    if twist < 0.5 and made.flags.owndata:
        made.flags.writeable = False
    return made


def scalar(rng: Random) -> Any:
    """Return one value where many are expected."""
    return rng.choice([None, *NUMBERS, *TEXTS, Colour.RED, ..., NotImplemented])


def endless(rng: Random) -> Any:
    """Return what has no length, no end, or itself inside."""
    cyclic: list[Any] = [1]
    cyclic.append(cyclic)
    knot: dict[str, Any] = {"a": 1}
    knot["b"] = knot
    return rng.choice([(i for i in range(3)), cyclic, knot, {1, 2}, range(3), map(str, "ab")])


@cache
def _tables() -> tuple[Any, ...]:
    """Return tables of every library that is there; made once, and never changed."""
    import pandas as pd
    import polars as pl
    import pyarrow as pa
    from scipy import sparse

    days = pd.date_range("2026-01-01", periods=2, tz="Europe/Berlin")
    two = pd.DataFrame({"a": [1.0, 2.0], "b": ["x", None]})
    return (
        two,
        two[[]],
        two.iloc[:0],
        two["a"],
        pd.DataFrame([[1, 2], [3, 4]], columns=["a", "a"]),
        pd.DataFrame([[1, 2]], columns=pd.MultiIndex.from_tuples([("a", 1), ("a", 2)])),
        pd.DataFrame({"a": pd.array([1, None], dtype="Int64"), "b": pd.array([True, None])}),
        pd.DataFrame({"a": pd.Categorical(["x", None])}),
        pd.DataFrame({"b": pd.period_range("2026", periods=2, freq="Y")}),
        pd.DataFrame({"a": pd.IntervalIndex.from_breaks([0, 1, 2]), "b": days}),
        pd.DataFrame({"a": [pd.NaT, pd.Timedelta(days=1)], "b": pd.array(["x", None])}),
        pd.DataFrame({"a": [Hostile(), 1], 7: [[1], {}]}),
        pd.DataFrame({"a": pd.arrays.SparseArray([0.0, 1.0])}),
        pl.DataFrame({"a": [1, None], "b": ["x", None], "c": [[1], []]}),
        pl.DataFrame({"a": [1.0, 2.0]}).lazy(),
        pa.table({"a": pa.array([1, None]), "b": pa.array(["x", "y"]).dictionary_encode()}),
        pa.table([pa.array([1]), pa.array([2])], names=["a", "a"]),
        sparse.csr_matrix(np.eye(3)),
        sparse.coo_array(np.eye(2)),
    )


@cache
def warm() -> None:
    """Let the table libraries open what they keep open, such as the event loop of polars."""
    for made in _tables():
        for look in (str, list, np.asarray):
            with suppress(Exception):
                look(made)


def table(rng: Random) -> Any:
    """Return a table of one of the libraries."""
    return rng.choice(_tables())


KINDS: Final = (scalar, sequence, rows, mapping, array, endless, table, hostile)


def value(rng: Random) -> Any:
    """Return anything."""
    return rng.choice(KINDS)(rng)
