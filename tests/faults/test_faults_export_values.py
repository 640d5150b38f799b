"""Values of any kind in a batch: what cannot be encoded loses itself only, and is counted."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from otel_ml.emit.backlog import Backlog, Entry
from otel_ml.emit.destination import from_environ
from otel_ml.emit.events import encode_events
from otel_ml.emit.lane import Patience
from otel_ml.emit.otlp import OtlpSink
from otel_ml.emit.points import encode_samples
from otel_ml.emit.receiver import Receiver
from otel_ml.emit.resource import EncodedResource
from otel_ml.emit.values import Unencodable, number, plain
from otel_ml.types import Event
from tests.emit.conftest import Make

make = Make()


class Hostile:
    """Raises from whatever it is asked."""

    def _fail(self, *_: Any) -> Any:
        raise RuntimeError("touched")

    __len__ = __iter__ = __getitem__ = __str__ = __repr__ = __float__ = __int__ = _fail
    __index__ = __bool__ = __array__ = __lt__ = __gt__ = _fail
    __eq__ = _fail
    __hash__ = None  # type: ignore[assignment]  # unhashable


class Liar(int):
    """An integer that says it is another."""

    def __int__(self) -> int:
        raise RuntimeError("touched")

    __index__ = __int__

    def __le__(self, other: Any) -> bool:
        return True

    __ge__ = __gt__ = __lt__ = __le__


class LyingText(str):
    def __str__(self) -> str:
        raise RuntimeError("touched")

    def isascii(self) -> bool:
        raise RuntimeError("touched")


class LyingFloat(float):
    def __float__(self) -> float:
        raise RuntimeError("touched")


class Colour(enum.IntEnum):
    RED = 1


CYCLE: list[Any] = []
CYCLE.append(CYCLE)

NO_NUMBERS = [
    None, "1", b"1", 1j, object(), Hostile(), [1], (1,), {1}, {"a": 1}, CYCLE, np.array([1]),
    np.array(1), 2**63, -(2**63) - 1, 10**400, Liar(2**70), float("nan"), float("inf"),
    -float("inf"), np.float32("nan"), np.float16("inf"), np.longdouble("inf"), np.uint64(2**64 - 1),
    np.datetime64("2020-01-01"), np.datetime64(1, "ns"), np.timedelta64(1, "ns"), np.complex64(1),
    np.bytes_(b"x"), np.str_("1"), Decimal(1), Fraction(1, 2), np.void(b"x"), lambda: 1,
]  # fmt: skip
NUMBERS = [
    (True, 1), (np.True_, 1), (Colour.RED, 1), (Liar(7), 7), (LyingFloat(0.5), 0.5),
    (2**63 - 1, 2**63 - 1), (-(2**63), -(2**63)), (-0.0, -0.0), (5e-324, 5e-324),
    (1.7e308, 1.7e308), (np.int8(-1), -1), (np.uint64(2**63 - 1), 2**63 - 1),
    (np.float32(0.5), 0.5), (np.float16(2), 2.0), (np.longdouble(0.25), 0.25), (np.float64(3), 3.0),
]  # fmt: skip


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


def sink_to(receiver: Receiver, **more: Any) -> OtlpSink:
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint}
    return OtlpSink(from_environ("metrics", variables), from_environ("logs", variables), **more)


def has_no_place(kind: str, value: Any) -> bool:
    """Tell whether a value is wrong there; a count may be of 64 bits, and a sum absent."""
    if kind == "bucket":
        return not (type(value) in (int, np.uint64) and 0 <= value < 2**64)
    return not (kind == "sum" and value is None)


@pytest.mark.fault("C8", "B2")
@pytest.mark.parametrize(
    ("kind", "value"),
    [
        pytest.param(kind, value, id=f"{kind}-{i}-{type(value).__name__}")
        for kind in ("counter", "gauge", "updown", "bucket", "bound", "sum")
        for i, value in enumerate(NO_NUMBERS)
        if has_no_place(kind, value)
    ],
)
def test_a_value_without_place_loses_its_point_only(kind: str, value: Any) -> None:
    if kind == "bucket":
        poison = make.histogram((value, 1, 1), 1.0)
    elif kind == "bound":
        poison = make.histogram((1, 2, 3), 1.0, (value, 1.0))
    elif kind == "sum":
        poison = make.histogram((1, 2, 3), value)
    else:
        poison = getattr(make, kind)(value)
    good = [make.counter(3, "ml.good"), make.histogram((1, 2, 3), feature="x")]
    encoded = encode_samples([good[0], poison, good[1]], start_ns=1, now_ns=2)
    assert encoded.unencodable == 1
    assert [m.name for m in encoded.metrics] == ["ml.good", "ml.test.histogram"]
    assert len(encoded.metrics[1].histogram.data_points) == 1


@pytest.mark.fault("C8", "B2")
@pytest.mark.parametrize(("value", "exact"), NUMBERS)
def test_numbers_are_exact_and_of_a_built_in_type(value: Any, exact: Any) -> None:
    found = number(value)
    assert (type(found), found) == (type(exact), exact)


@pytest.mark.fault("C8", "B8")
def test_texts_keep_what_can_be_kept() -> None:
    assert plain(LyingText("a\ud800b\0\u202e")) == "a\ufffdb\0\u202e"
    with pytest.raises(Unencodable):
        plain(b"\xff")


ODD = [*NO_NUMBERS, *(value for value, _ in NUMBERS)]
ATTRIBUTES = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary(),
        st.text(st.characters(categories=["Cs"])), st.complex_numbers(),
        st.integers(0, len(ODD) - 1).map(lambda i: ODD[i]),  # not compared, as a sample would be
    ),
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner),
    max_leaves=6,
)  # fmt: skip
POISON = st.fixed_dictionaries(
    {},
    optional={
        "name": ATTRIBUTES,
        "attributes": st.one_of(ATTRIBUTES, st.dictionaries(st.text(), ATTRIBUTES)),
        "time_ns": ATTRIBUTES,
        "severity": ATTRIBUTES,
        "body": ATTRIBUTES,
        "trace_id": ATTRIBUTES,
        "span_id": ATTRIBUTES,
    },
)


@pytest.mark.fault("C8")
@given(st.lists(st.one_of(st.none(), POISON), max_size=8))
def test_a_bad_event_loses_itself_only_and_all_is_accounted_for(batch: list[Any]) -> None:
    events = [
        make.event(f"ml.good{i}")
        if changes is None
        else Event(**{**vars_of(make.event("ml.odd")), **changes})
        for i, changes in enumerate(batch)
    ]
    records, bad = encode_events(events, now_ns=3)
    assert len(records) + bad == len(events)
    good = [f"ml.good{i}" for i, changes in enumerate(batch) if changes is None]
    assert [r.event_name for r in records if r.event_name.startswith("ml.good")] == good
    for record in records:  # what is let through can be sent and read again
        assert type(record).FromString(record.SerializeToString()).event_name == record.event_name


def vars_of(event: Event) -> dict[str, Any]:
    return {name: getattr(event, name) for name in event.__dataclass_fields__}


SAMPLES = st.tuples(
    st.sampled_from(["counter", "gauge", "updown"]),
    ATTRIBUTES,
    st.dictionaries(st.text(min_size=1), ATTRIBUTES, max_size=2),
)


@pytest.mark.fault("C8")
@settings(max_examples=30)
@given(batch=st.lists(SAMPLES, max_size=6), events=st.lists(POISON, max_size=4))
def test_the_good_ones_of_any_batch_arrive_at_a_real_receiver(
    receiver: Receiver, batch: list[Any], events: list[Any]
) -> None:
    receiver.clear()
    sink = sink_to(receiver)
    odd = [
        make._sample(
            "updowncounter" if kind == "updown" else kind, value, "ml.odd." + kind, attributes
        )
        for kind, value, attributes in batch
    ]
    told = [Event(**{**vars_of(make.event("ml.odd")), **changes}) for changes in events]
    report = make.send(
        sink,
        make.counter(1, "ml.first"),
        *odd,
        make.counter(2, "ml.last"),
        events=[make.event("ml.first"), *told, make.event("ml.last")],
    )
    sink.shutdown(5)
    assert set(report.outcomes.values()) == {"success"}
    assert (receiver.total("ml.first"), receiver.total("ml.last")) == (1, 2)
    names = [event["name"] for event in receiver.events()]
    assert [name for name in names if name in ("ml.first", "ml.last")] == ["ml.first", "ml.last"]
    points = sum(
        len(metric.sum.data_points) + len(metric.gauge.data_points)
        for request in receiver.metrics
        for metric in request.resource_metrics[0].scope_metrics[0].metrics
    )
    records = sum(
        len(request.resource_logs[0].scope_logs[0].log_records) for request in receiver.logs
    )
    sent = points + records
    assert sent + report.dropped.get("unencodable", 0) == len(odd) + len(told) + 4


@pytest.mark.fault("C8")
def test_a_poison_point_that_stays_does_not_stop_later_exports(receiver: Receiver) -> None:
    receiver.clear()
    sink = sink_to(receiver)
    for value in (1, 2, 3):
        report = make.send(sink, make.counter(value), make.gauge(2**70), make.gauge(0.5, a="x"))
        assert report.dropped == {"unencodable": 1}
        assert receiver.total("ml.test.counter") == value
    sink.shutdown(1)


# C9


@pytest.mark.fault("C9")
def test_a_large_batch_is_divided_and_one_record_that_is_too_large_is_dropped(
    receiver: Receiver,
) -> None:
    receiver.clear()
    limit = 10_000
    sink = sink_to(receiver, patience=Patience(request_bytes=limit))
    events = [make.event(f"ml.e{i}", attributes={"text": "x" * 1_000}) for i in range(40)]
    events.insert(20, make.event("ml.large", attributes={"text": "x" * (limit + 1)}))
    samples = [make.counter(i, feature="f" * 100 + str(i)) for i in range(200)]
    report = make.send(
        sink, *samples, make.counter(1, "ml.large", text="x" * (limit + 1)), events=events
    )
    assert report.dropped == {"too_large": 2}
    assert [e["name"] for e in receiver.events()] == [f"ml.e{i}" for i in range(40)]
    assert sorted(v for _, v in receiver.series("ml.test.counter")) == list(range(200))
    requests = [*receiver.logs, *receiver.metrics]
    assert max(request.ByteSize() for request in requests) < limit + 2_000, "and the resource"
    assert make.send(sink, make.counter(1)).ok, "nothing of it comes again"
    sink.shutdown(1)


@pytest.mark.fault("C9")
def test_what_is_over_the_limit_of_the_specification_is_divided(receiver: Receiver) -> None:
    """64 MiB in one export, and the receiver takes 16 MiB at once."""
    receiver.clear()
    sink = sink_to(receiver)
    series = [make.counter(i, text="x" * 340_000 + str(i)) for i in range(200)]
    report = make.send(sink, *series, timeout=60.0)
    assert report.ok
    assert len(receiver.series("ml.test.counter")) == 200
    sizes = [request.ByteSize() for request in receiver.metrics]
    assert sum(sizes) > 64 * 1024 * 1024
    assert max(sizes) < 4 * 1024 * 1024
    receiver.clear()
    sink.shutdown(1)


@pytest.mark.fault("C10")
def test_what_waits_is_bounded_in_number_and_bytes_and_the_oldest_are_lost() -> None:
    records, _ = encode_events(
        [make.event(f"ml.e{i}", attributes={"text": "x" * 1_000}) for i in range(100)], now_ns=1
    )
    identity = EncodedResource(Resource(), "")
    entries = [Entry(record, identity) for record in records]
    few = Backlog(most=30)
    assert few.add(entries) == entries[:70]
    small = Backlog(most_bytes=20_500)
    lost = small.add(entries)
    kept = small.take()
    assert lost
    assert (*lost, *kept) == tuple(entries)
    assert sum(entry.ByteSize() for entry in kept) <= 20_500
    assert (len(small), small.put_back(kept), small.take()) == (0, [], kept)
    small.add(entries[:5])
    lost = small.put_back(entries[50:])
    assert small.all() == (*entries[50 + len(lost) :], *entries[:5]), "the oldest go first"
