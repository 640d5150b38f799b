"""One odd value is a defect of its own place: it never raises, and never changes its neighbours."""

from __future__ import annotations

import datetime as dt
import math
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_ml.profile.values import MOST_CHARS, category_key, category_keys, numeric_values, plain


def column(*values: Any) -> Any:
    out = np.empty(len(values), dtype=object)
    for i, value in enumerate(values):
        out[i] = value
    return out


class Refusing:
    """Raises whatever it is asked."""

    def __init__(self, error: type[BaseException]) -> None:
        self.error = error

    def __str__(self) -> str:
        raise self.error

    def __float__(self) -> float:
        raise self.error

    def __gt__(self, other: object) -> bool:
        raise self.error


ERRORS = (ValueError, OverflowError, RecursionError, MemoryError, SystemExit, GeneratorExit)


@pytest.mark.fault("A2", "B2")
@pytest.mark.parametrize("error", ERRORS)
def test_an_object_that_refuses_is_no_number_and_goes_by_its_type(error: Any) -> None:
    values, text = numeric_values(column(1.0, Refusing(error), 3.0))
    np.testing.assert_array_equal(values, [1.0, np.nan, 3.0])
    assert text.tolist() == [False, True, False]
    assert category_keys(column("a", Refusing(error))).tolist() == ["a", "Refusing"]


def test_an_interrupt_by_the_user_passes() -> None:
    for look in (numeric_values, category_keys):
        with pytest.raises(KeyboardInterrupt):
            look(column(Refusing(KeyboardInterrupt)))


@pytest.mark.fault("B2", "B7")
@pytest.mark.parametrize(
    ("value", "number", "text", "key"),
    [
        (10**400, math.inf, False, str(10**400)[:MOST_CHARS]),
        (2**63, 2.0**63, False, "9223372036854775808"),
        (np.uint64(2**64 - 1), 2.0**64, False, "18446744073709551615"),
        (True, 1.0, False, "True"),
        (np.bool_(False), 0.0, False, "False"),
        (Decimal("0.1"), 0.1, False, "0.1"),
        (Decimal("1E+400"), math.inf, False, "1E+400"),
        (Decimal("NaN"), math.nan, False, None),
        (Decimal("sNaN"), math.nan, True, None),
        (Fraction(1, 4), 0.25, False, "1/4"),
        (Fraction(10**400), math.inf, False, str(10**400)[:MOST_CHARS]),
        (np.longdouble("1e4000"), math.inf, False, "inf"),
        (1 + 2j, math.nan, True, "(1+2j)"),
        (np.complex64(1j), math.nan, True, "1j"),
        (np.array([1.0]), math.nan, True, "[1.]"),
        (np.timedelta64("NaT", "s"), math.nan, False, None),
        (np.timedelta64(5, "s"), math.nan, True, "5 seconds"),
        (np.datetime64("NaT", "s"), math.nan, False, None),
        (dt.date(2026, 1, 2), math.nan, True, "2026-01-02"),
        (None, math.nan, False, None),
        ("NaN", math.nan, False, "NaN"),
        ("x" * 5000, math.nan, True, "x" * MOST_CHARS),
    ],
)
def test_numbers_of_every_kind(value: Any, number: float, text: bool, key: str | None) -> None:
    values, flags = numeric_values(column(1.0, value))
    np.testing.assert_array_equal(values, [1.0, number])
    assert flags.tolist() == [False, text]
    assert category_key(value) == key


@pytest.mark.fault("B2")
def test_an_integer_longer_than_python_writes() -> None:
    longest = -(10**5000)
    assert numeric_values(column(longest))[0].tolist() == [-math.inf]
    assert category_key(longest) == hex(longest)[:MOST_CHARS]


@pytest.mark.fault("B1")
@given(st.lists(st.floats(width=64)))
def test_floats_are_taken_as_they_are(numbers: list[float]) -> None:
    """NaN, infinities, −0.0 and subnormals keep every bit, alone or among objects."""
    plain = np.array(numbers, dtype=np.float64)
    for given_ in (plain, column(*numbers)):
        values, text = numeric_values(given_)
        assert values.tobytes() == plain.tobytes()
        assert not text.any()


@pytest.mark.fault("B3")
@pytest.mark.parametrize("dtype", ["f2", ">f4", "<f4", ">f8", "g", "i1", ">i8", "u8", "?"])
def test_every_type_of_number(dtype: str) -> None:
    values, text = numeric_values(np.array([0, 1, 1], dtype=dtype))
    assert values.dtype == np.float64
    assert values.tolist() == [0.0, 1.0, 1.0]
    assert not text.any()
    keys = category_keys(np.array([0, 1, 1], dtype=dtype))
    assert keys.tolist() == (["False", "True", "True"] if dtype == "?" else ["0", "1", "1"])


class Text(str):
    """Text that counts how often it is asked."""

    __slots__ = ()

    def __hash__(self) -> int:
        raise RuntimeError

    def __eq__(self, other: object) -> bool:
        raise RuntimeError


class Number:
    """A number of a library of its own."""

    def __float__(self) -> float:
        return 2.5


@pytest.mark.fault("A2")
def test_no_code_of_the_application_is_left_in_a_column() -> None:
    mixed = column(1, "a", Text("b"), Number(), Refusing(SystemExit), {}, None, Decimal("0.1"))
    found = plain(mixed).tolist()
    assert found == [1, "a", "b", 2.5, "Refusing", "{}", None, Decimal("0.1")]
    assert type(found[2]) is str
    assert type(mixed[2]) is Text, "the application's own array stays as it is"


def test_a_column_without_odd_objects_is_taken_as_it_is() -> None:
    for given_ in (column(1, "a", None, 2.5, True), np.array([1.0]), np.array(["a"])):
        assert plain(given_) is given_


@pytest.mark.fault("A2", "B8")
@given(st.lists(st.none() | st.booleans() | st.floats() | st.text() | st.complex_numbers()))
def test_what_is_counted_is_what_was_there(values: list[Any]) -> None:
    given_ = column(*values)
    made = plain(given_)
    for look in (lambda c: numeric_values(c)[0].tobytes(), lambda c: category_keys(c).tolist()):
        assert look(made) == look(given_)


def test_an_interrupt_that_an_object_makes_up_in_another_thread_is_its_own_error() -> None:
    """Nobody interrupts a thread: it comes from the object, and must not end the worker."""
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(plain, column(1.0, Refusing(KeyboardInterrupt))).result(60)
    assert found.tolist() == [1.0, "Refusing"]
