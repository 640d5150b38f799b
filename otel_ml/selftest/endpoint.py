"""The variables of the user in, what their own receiver says to an empty request out.

This is the one part of the self-test that leaves the machine, and only if it is asked for.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)

from otel_ml.emit.build import build_sinks, plan
from otel_ml.emit.destination import Destination
from otel_ml.emit.transport import Answer, Request, connect
from otel_ml.errors import OtelMlError
from otel_ml.selftest.faults import Fault
from otel_ml.selftest.trial import Trial
from otel_ml.semconv import metrics as m
from otel_ml.types import Sample

__all__ = ["ENDPOINT", "Content", "endpoint_row", "try_endpoints"]

Content: TypeAlias = Literal["empty", "point"]

ENDPOINT: Final = "endpoint"
_LIMIT: Final = 10.0  # seconds; a name server may keep a connection waiting for longer
_TOGETHER: Final = "OTEL_EXPORTER_OTLP_*"


def endpoint_row(content: Content) -> Fault:
    """Return the row of the table that tries the user's own receiver."""
    return Fault(
        ENDPOINT,
        "your own receiver, as OTEL_EXPORTER_OTLP_* says",
        "It takes what otel-ml sends.",
        lambda _, trial: try_endpoints(trial, os.environ, content),
        quick=True,
        needs=str,
    )


def try_endpoints(trial: Trial, environ: Mapping[str, str], content: Content) -> None:
    """Send a request to each destination that is configured, as otel-ml would.

    Parameters
    ----------
    trial
        Takes one check per destination.
    environ
        The variables of OpenTelemetry.
    content
        ``empty``: nothing is sent but an empty request. ``point``: one point of
        ``ml.monitoring.captured`` with the value 0 as well.
    """
    try:
        found = plan(environ)
    except OtelMlError as error:
        trial.check("configuration", False, f"{error.message}; {error.remedy}")
        return
    destinations = (*found.metrics, *found.logs)
    if not destinations:
        trial.skip("", "nothing is sent over OTLP with the variables as they are")
        return
    for destination in destinations:
        name = f"{destination.signal} to {_shown(destination)} ({destination.protocol})"
        began = time.monotonic()
        answer = _within(destination)
        took = time.monotonic() - began
        good = answer is not None and answer.status == "accepted"
        told = "no answer" if answer is None else answer.message or answer.status
        remedy = "" if good else f"; check {_TOGETHER}, the receiver and the way to it"
        trial.check(name, good, f"{told} after {took:.2f} s{remedy}")
    if content == "point" and trial.verdict == "PASS":
        _point(trial, environ)


def _within(destination: Destination) -> Answer | None:
    answers: list[Answer] = []
    limit = min(destination.timeout, _LIMIT)
    thread = threading.Thread(
        target=lambda: answers.append(_ask(destination, limit)), name="endpoint", daemon=True
    )
    thread.start()
    thread.join(_LIMIT)
    return answers[0] if answers else None


def _ask(destination: Destination, limit: float) -> Answer:
    empty: Request = ExportLogsServiceRequest()
    if destination.signal == "metrics":
        empty = ExportMetricsServiceRequest()
    try:
        client = connect(destination)
        try:
            return client.send(empty, limit)
        finally:
            client.close()
    except Exception as error:  # files and entry points of the user
        return Answer("failed", message=f"{type(error).__name__}: {error}")


def _point(trial: Trial, environ: Mapping[str, str]) -> None:
    now = time.time_ns()
    sample = Sample(m.ML_MONITORING_CAPTURED, {}, 0)
    for sink in build_sinks(environ):
        report = sink.export([sample], [], start_ns=now, now_ns=now, timeout=_LIMIT)
        sink.shutdown(_LIMIT)
        said = f"{dict(report.outcomes)}, dropped {dict(report.dropped)}"
        trial.check(f"one point of {sample.metric.name}", report.ok, said)


def _shown(destination: Destination) -> str:
    try:
        return destination.shown
    except ValueError:
        return "what is no URL"
