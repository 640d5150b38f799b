"""Encoded metrics and log records in, complete OTLP export requests out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import Protocol, TypeVar

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric, ResourceMetrics, ScopeMetrics

from otel_ml._version import __version__
from otel_ml.emit.resource import EncodedResource
from otel_ml.semconv import SCHEMA_URL, SCOPE

__all__ = ["by_resource", "logs_request", "metrics_request"]


class _Owned(Protocol):
    @property
    def identity(self) -> EncodedResource: ...


Owned = TypeVar("Owned", bound=_Owned)
Made = TypeVar("Made", ExportMetricsServiceRequest, ExportLogsServiceRequest)


def by_resource(
    items: Iterable[Owned], wrap: Callable[[EncodedResource, Sequence[Owned]], Made]
) -> Made:
    """Wrap items in one request: each run of those that share a resource under that resource."""
    whole: Made | None = None
    for _, run in groupby(items, key=lambda item: id(item.identity)):
        some = tuple(run)
        part = wrap(some[0].identity, some)
        if whole is None:
            whole = part
        else:
            whole.MergeFrom(part)
    assert whole is not None, "a request has items"
    return whole


def metrics_request(
    resource: EncodedResource, metrics: Sequence[Metric]
) -> ExportMetricsServiceRequest:
    """Wrap metrics in their scope and resource."""
    scope = ScopeMetrics(
        scope=InstrumentationScope(name=SCOPE, version=__version__),
        metrics=metrics,
        schema_url=SCHEMA_URL,
    )
    return ExportMetricsServiceRequest(
        resource_metrics=[
            ResourceMetrics(
                resource=resource.message, scope_metrics=[scope], schema_url=resource.schema_url
            )
        ]
    )


def logs_request(
    resource: EncodedResource, records: Sequence[LogRecord]
) -> ExportLogsServiceRequest:
    """Wrap log records in their scope and resource."""
    scope = ScopeLogs(
        scope=InstrumentationScope(name=SCOPE, version=__version__),
        log_records=records,
        schema_url=SCHEMA_URL,
    )
    return ExportLogsServiceRequest(
        resource_logs=[
            ResourceLogs(
                resource=resource.message, scope_logs=[scope], schema_url=resource.schema_url
            )
        ]
    )
