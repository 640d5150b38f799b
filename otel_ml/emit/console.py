"""Samples and events in, OTLP in JSON on a text stream out: one line per signal and export."""

from __future__ import annotations

import base64
import json
import logging
import sys
from collections.abc import Sequence
from typing import Any, TextIO

from google.protobuf.json_format import MessageToDict

from otel_ml.emit.envelope import logs_request, metrics_request
from otel_ml.emit.events import encode_events
from otel_ml.emit.points import encode_samples
from otel_ml.emit.resource import ResourceSource, application_resource, encode_resource
from otel_ml.emit.sink import ExportReport
from otel_ml.emit.transport import Request
from otel_ml.types import Event, Sample

__all__ = ["ConsoleSink"]

_log = logging.getLogger(__name__)


class ConsoleSink:
    """Prints OTLP in its JSON encoding, as the Collector's file exporter writes it.

    Parameters
    ----------
    metrics, logs
        Which signals to print.
    stream
        Where to print; None is standard output.
    resource
        Supplies the application's resource.
    """

    def __init__(
        self,
        *,
        metrics: bool = True,
        logs: bool = True,
        stream: TextIO | None = None,
        resource: ResourceSource = application_resource,
    ) -> None:
        self._metrics = metrics
        self._logs = logs
        self._stream = stream
        self._resource = resource

    def export(
        self,
        samples: Sequence[Sample],
        events: Sequence[Event],
        *,
        start_ns: int,
        now_ns: int,
        timeout: float,
    ) -> ExportReport:
        """Print the samples and events."""
        unencodable = 0
        outcomes: dict[str, str] = {}
        if self._metrics:
            encoded = encode_samples(samples, start_ns=start_ns, now_ns=now_ns)
            unencodable += encoded.unencodable
            if encoded.metrics:
                identity = encode_resource(self._resource())
                outcomes["metrics"] = self._print(metrics_request(identity, encoded.metrics))
        if self._logs:
            records, bad = encode_events(events, now_ns=now_ns)
            unencodable += bad
            if records:
                identity = encode_resource(self._resource())
                outcomes["logs"] = self._print(logs_request(identity, records))
        dropped = {"unencodable": unencodable} if unencodable else {}
        return ExportReport(not dropped and "failure" not in outcomes.values(), dropped, outcomes)

    def shutdown(self, timeout: float) -> None:
        """Release nothing: every line was flushed."""

    def _print(self, request: Request) -> str:
        stream = self._stream or sys.stdout
        document = _otlp_json(MessageToDict(request, use_integers_for_enums=True))
        try:
            print(json.dumps(document), file=stream, flush=True)
        except (OSError, ValueError) as error:  # Closed, or a pipe nobody reads.
            _log.warning("telemetry cannot be printed: %s", error)
            return "failure"
        return "success"


def _otlp_json(value: Any) -> Any:
    """Write ids in hexadecimal, as OTLP has them, where protobuf's JSON has base64."""
    if isinstance(value, list):
        return [_otlp_json(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: base64.b64decode(item).hex() if key in ("traceId", "spanId") else _otlp_json(item)
        for key, item in value.items()
    }
