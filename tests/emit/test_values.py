"""The closed set of values."""

from __future__ import annotations

from enum import Enum
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_ml.emit.values import Unencodable, any_value, key_values, number, plain, text


class Colour(str, Enum):
    RED = "red"


ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.complex_numbers(),
    st.text(st.characters()),
    st.text(st.characters(categories=["Cs"])),
    st.binary(),
    st.builds(np.float32, st.floats(width=32)),
    st.builds(np.int64, st.integers(-(2**63), 2**63 - 1)),
    st.builds(object),
    st.sets(st.integers()),
    st.dictionaries(st.text(), st.integers()),
    st.lists(st.one_of(st.text(), st.integers(), st.none())),
)


@given(ODD)
def test_whatever_is_let_through_can_be_serialised(value: Any) -> None:
    try:
        encoded = any_value(value)
    except Unencodable:
        return
    assert type(encoded).FromString(encoded.SerializeToString()) == encoded or value != value


@given(ODD)
def test_a_number_is_finite_and_within_int64(value: Any) -> None:
    try:
        exact = number(value)
    except Unencodable:
        return
    assert type(exact) in (int, float)
    assert -(2**63) <= exact < 2**63 or isinstance(exact, float)
    assert exact == value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (True, 1),
        (2**63 - 1, 2**63 - 1),
        (-(2**63), -(2**63)),
        (np.int32(7), 7),
        (np.bool_(True), 1),
    ],
)
def test_numbers(value: Any, expected: int) -> None:
    exact = number(value)
    assert (exact, type(exact)) == (expected, int)


@pytest.mark.parametrize("value", [2**63, float("nan"), float("inf"), "1", None, 1j, np.array([1])])
def test_no_numbers(value: Any) -> None:
    with pytest.raises(Unencodable):
        number(value)


def test_lone_surrogates_are_replaced() -> None:
    assert text("a\ud800b") == "a\ufffdb"
    assert text("\U0001f600") == "\U0001f600"


def test_a_subclass_of_str_becomes_its_characters() -> None:
    assert (plain(Colour.RED), type(plain(Colour.RED))) == ("red", str)
    assert type(plain(np.str_("x"))) is str


def test_arrays_keep_their_order_and_types() -> None:
    values = any_value(["a", 1, True, 0.5]).array_value.values
    assert [item.WhichOneof("value") for item in values] == [
        "string_value",
        "int_value",
        "bool_value",
        "double_value",
    ]


def test_long_strings_are_cut_where_a_limit_is_set() -> None:
    assert any_value(["abcdef"], 3).array_value.values[0].string_value == "abc"
    assert any_value("abcdef").string_value == "abcdef"


def test_one_bad_attribute_makes_a_point_unencodable() -> None:
    with pytest.raises(Unencodable):
        key_values({"a": "b", "c": None})
    with pytest.raises(Unencodable):
        key_values({"a": ["b"]})
    with pytest.raises(Unencodable):
        key_values({1: "b"})
