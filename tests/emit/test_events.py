"""Events become log records, each for itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from otel_ml.emit.events import encode_events


class Hostile(str):
    def __str__(self) -> str:
        raise RuntimeError("no")


def test_every_field_arrives(make: Any) -> None:
    told = make.event(
        attributes={
            "s": "x",
            "n": 1,
            "f": 0.5,
            "b": True,
            "list": ["a", "b"],
            "floats": (1.0, 2.0),
        },
        severity="critical",
        body="One sentence.",
        trace_id=2**127,
        span_id=1,
    )
    (record,), unencodable = encode_events([told], now_ns=make.NOW + 5)
    assert unencodable == 0
    assert record.event_name == "ml.incident"
    assert (record.severity_number, record.severity_text) == (17, "")
    assert record.time_unix_nano == make.NOW
    assert record.observed_time_unix_nano == make.NOW + 5
    assert record.body.string_value == "One sentence."
    assert record.trace_id.hex() == "8" + "0" * 31
    assert record.span_id.hex() == "0" * 15 + "1"
    values = {pair.key: pair.value for pair in record.attributes}
    assert [item.string_value for item in values["list"].array_value.values] == ["a", "b"]
    assert [item.double_value for item in values["floats"].array_value.values] == [1.0, 2.0]
    assert values["b"].bool_value is True


def cyclic() -> list[Any]:
    inner: list[Any] = []
    inner.append(inner)
    return inner


POISON: list[Any] = [
    None,
    object(),
    2**70,
    {"a"},
    {"a": 1},
    b"bytes",
    1j,
    np.zeros(3),
    [None],
    ["a", object()],
    cyclic(),
]


@pytest.mark.parametrize("value", POISON, ids=lambda value: type(value).__name__)
def test_a_bad_attribute_loses_only_itself(make: Any, value: Any) -> None:
    told = make.event(attributes={"good": "x", "bad": value})
    (record, other), unencodable = encode_events([told, make.event()], now_ns=make.NOW)
    assert [pair.key for pair in record.attributes] == ["good"]
    assert (record.dropped_attributes_count, other.dropped_attributes_count) == (1, 0)
    assert unencodable == 0
    assert record.SerializeToString()


@pytest.mark.parametrize(
    "changes",
    [
        {"time_ns": -1},
        {"time_ns": 2**65},
        {"time_ns": 1.5},
        {"severity": "fatal"},
        {"name": 7},
        {"name": ""},
        {"body": object()},
        {"attributes": None},
        {"trace_id": "x"},
    ],
)
def test_a_bad_event_loses_only_itself(make: Any, changes: dict[str, Any]) -> None:
    bad = make.event(**changes)
    records, unencodable = encode_events([make.event(), bad, make.event()], now_ns=make.NOW)
    assert (len(records), unencodable) == (2, 1)


@pytest.mark.parametrize(("trace_id", "span_id"), [(0, 0), (2**128, 1), (1, 2**64), (-1, 1)])
def test_no_span_context_is_better_than_a_wrong_one(make: Any, trace_id: int, span_id: int) -> None:
    (record,), _ = encode_events([make.event(trace_id=trace_id, span_id=span_id)], now_ns=make.NOW)
    assert (record.trace_id, record.span_id) == (b"", b"")


def test_strings_are_made_harmless(make: Any) -> None:
    told = make.event(body="\ud83d!", attributes={"a": Hostile("x"), "long": "abcdef"})
    (record,), _ = encode_events([told], now_ns=make.NOW, limit=3)
    assert record.body.string_value == "\ufffd!"
    assert [pair.value.string_value for pair in record.attributes] == ["x", "abc"]
