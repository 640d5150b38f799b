"""Nothing in, arguments no server should ever be given out: one row per kind.

Each is handed to `otel_ml.observe` as it is. None may raise into the application, none may spoil
what comes after it, and none may be changed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Final

import numpy as np

__all__ = ["ODD", "Hostile", "fingerprint", "stalling"]

_TEXT: Final = 10_000_000  # characters
_QUESTIONS: Final = """
    __str__ __repr__ __hash__ __eq__ __len__ __array__ __iter__ __float__ __int__ __index__ __bool__
    __getitem__ __contains__ __getattr__ __lt__ __format__ __bytes__ __copy__ __deepcopy__
    __dataframe__ __dlpack__ __arrow_c_stream__ __next__
""".split()  # noqa: SIM905 a list of words is read as one


class Hostile:
    """An object of which nothing can be asked without an error.

    Parameters
    ----------
    error
        What every question raises.
    """

    def __init__(self, error: type[BaseException]) -> None:
        object.__setattr__(self, "error", error)


def _raise(self: Hostile, *_: Any, **__: Any) -> Any:
    raise object.__getattribute__(self, "error")("of the application's object")


for _question in _QUESTIONS:
    setattr(Hostile, _question, _raise)
for _question in ("__array_interface__", "__array_struct__"):
    setattr(Hostile, _question, property(_raise))


def stalling(wait: Callable[[], object]) -> object:
    """Return an object that keeps whoever reads it waiting."""

    class Stalling:
        def __array__(self, *_: Any, **__: Any) -> Any:
            wait()
            return np.zeros((1, 2))

        def __len__(self) -> int:
            wait()
            return 1

        def __iter__(self) -> Any:
            wait()
            return iter([[0.0, 0.0]])

    return Stalling()


def _cycle() -> list[Any]:
    rows: list[Any] = [1.0]
    rows.append(rows)
    return rows


def _features(value: Any) -> dict[str, Any]:
    return {"features": {"x": [value, 1.0]}, "scores": [0.25, 0.75]}


ODD: Final[Mapping[str, Callable[[], Mapping[str, Any]]]] = {
    "None": lambda: {"features": None, "scores": None},
    "NaN and infinities": lambda: {
        "features": np.array([[np.nan, np.inf], [-np.inf, -0.0]]),
        "scores": [float("nan"), 0.5],
    },
    "subnormal and 1.7e308": lambda: _features(1.7e308) | {"predictions": [5e-324, -1.7e308]},
    "an integer of 400 digits": lambda: _features(10**400),
    "2**63 and 2**64 - 1": lambda: {"features": {"x": [2**63, 2**64 - 1]}, "scores": [0.1, 0.9]},
    "lone surrogate": lambda: _features("\ud800"),
    "NUL and right to left": lambda: _features("a\0b\u202ec"),
    "10 MB string": lambda: _features("x" * _TEXT),
    "bytes that are no text": lambda: _features(b"\xff\xfe"),
    "Decimal and complex": lambda: {"features": {"x": [Decimal("sNaN"), 1 + 2j]}, "scores": [0, 1]},
    "ragged rows": lambda: {"features": [[1.0, 2.0], [3.0]], "scores": [0.1, 0.9]},
    "empty batch": lambda: {"features": [], "scores": []},
    "no column": lambda: {"features": np.zeros((2, 0)), "scores": [0.1, 0.9]},
    "no dimension": lambda: {"features": np.array(1.0), "scores": np.array(0.5)},
    "three dimensions": lambda: {"features": np.zeros((2, 2, 2)), "scores": np.zeros((2, 2, 2))},
    "lengths that differ": lambda: {"features": [[1.0], [2.0]], "scores": [0.5], "ids": ["a"] * 3},
    "scores beyond 0 and 1": lambda: {"features": [[1.0], [2.0]], "scores": [-5.0, 7.0]},
    "scores of text": lambda: {"features": [[1.0], [2.0]], "scores": ["high", "low"]},
    "mixed types": lambda: {"features": [[1.0, "a"], [None, 2]], "predictions": [True, "no"]},
    "a list inside itself": lambda: {"features": _cycle(), "scores": [0.1, 0.9]},
    "a generator": lambda: {"features": (row for row in ([1.0], [2.0])), "scores": [0.1, 0.9]},
    "every question raises ValueError": lambda: {"features": Hostile(ValueError)},
    "every question raises RecursionError": lambda: {"features": Hostile(RecursionError)},
    "every question raises MemoryError": lambda: {"features": Hostile(MemoryError)},
    "every question raises SystemExit": lambda: {
        "features": Hostile(SystemExit), "scores": [Hostile(SystemExit)], "ids": [Hostile(OSError)],
    },
    "a hostile value in a column": lambda: _features(Hostile(ValueError)),
    "a model name that is none": lambda: {"model": 7, "features": [[1.0]], "scores": [0.5]},
    "object array": lambda: {
        "features": np.array([[object(), 1], [None, "x"]], dtype=object), "scores": [0.1, 0.9],
    },
    "masked array": lambda: {
        "features": np.ma.masked_array([[1.0], [2.0]], [[True], [False]]), "scores": [0.1, 0.9],
    },
    "big-endian and half precision": lambda: {
        "features": {"x": np.array([1, 2], ">f4"), "y": np.array([1, 2], "f2")}, "scores": [0, 1],
    },
    "dates out of any range": lambda: {
        "features": {"x": np.array(["NaT", "0001-01-01"], "M8[D]")}, "scores": [0.1, 0.9],
    },
}  # fmt: skip
"""Arguments by the name of what is odd about them."""


def fingerprint(value: Any, depth: int = 4) -> str:
    """Describe a value by what it holds, without asking an object that is not built in."""
    kind = type(value)
    if kind is np.ndarray and not value.dtype.hasobject:
        return f"{value.dtype.str}{value.shape}{value.tobytes().hex()}"
    if kind is dict and depth:
        return "".join(f"{key!r}:{fingerprint(item, depth - 1)};" for key, item in value.items())
    if kind in (list, tuple) and depth:
        return f"{kind.__name__}({','.join(fingerprint(item, depth - 1) for item in value)})"
    if kind in (bool, float, complex, bytes, type(None)):
        return repr(value)
    if kind is int:
        return hex(value)  # decimal digits of a long one are refused
    if kind is str:
        return f"{len(value)}:{value[:100]!r}"
    return kind.__name__
