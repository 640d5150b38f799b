"""Events in, OTLP log records out; each is encoded on its own, so a bad one loses only itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, SeverityNumber

from otel_ml.emit.values import Unencodable, any_value, text, uint64
from otel_ml.types import SEVERITY_NUMBER, Event, Severity

__all__ = ["encode_events"]

_SEVERITY: Final[Mapping[Severity, SeverityNumber.ValueType]] = {
    severity: SeverityNumber.values()[number] for severity, number in SEVERITY_NUMBER.items()
}


def encode_events(
    events: Sequence[Event], *, now_ns: int, limit: int | None = None
) -> tuple[list[LogRecord], int]:
    """Encode the events as log records.

    Parameters
    ----------
    events
        The events, in order.
    now_ns
        When they were observed, nanoseconds since the epoch.
    limit
        Longest attribute string that is kept whole, in characters.

    Returns
    -------
    records
        One record per event that can be encoded. An attribute that cannot be is left out and
        counted in the record's ``dropped_attributes_count``.
    unencodable
        Events left out because their name, time or severity has no place in OTLP.
    """
    records: list[LogRecord] = []
    unencodable = 0
    for event in events:
        try:
            records.append(_record(event, now_ns, limit))
        except Exception:  # Whatever its values do: it loses this event, and is counted.
            unencodable += 1
    return records, unencodable


def _record(event: Event, now_ns: int, limit: int | None) -> LogRecord:
    attributes: list[KeyValue] = []
    dropped = 0
    for key, value in event.attributes.items():
        try:
            attributes.append(KeyValue(key=text(key), value=any_value(value, limit)))
        except Exception:  # As above, for this attribute.
            dropped += 1
    name = text(event.name)
    if not name:
        raise Unencodable("an event has a name")
    record = LogRecord(
        time_unix_nano=uint64(event.time_ns),
        observed_time_unix_nano=uint64(now_ns),
        severity_number=_SEVERITY[event.severity],
        attributes=attributes,
        dropped_attributes_count=dropped,
        event_name=name,
    )
    if event.body is not None:
        record.body.string_value = text(event.body)
    # A span context that is not one is no reason to lose the event.
    if 0 < event.trace_id < 2**128 and 0 < event.span_id < 2**64:
        record.trace_id = event.trace_id.to_bytes(16, "big")
        record.span_id = event.span_id.to_bytes(8, "big")
    return record
