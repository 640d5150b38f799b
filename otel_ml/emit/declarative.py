"""The file of ``OTEL_CONFIG_FILE`` in, a plan of where telemetry goes out.

The file is read, checked and filled in (``${VAR}``) by opentelemetry-configuration; the longer form
``${env:VAR}`` of the specification, which it leaves alone, is filled in here. Where the file is
set the specification has every other ``OTEL_*`` variable ignored, so none is read here but the one
that the ``service`` detector stands for.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource

from otel_ml.emit.destination import Destination, Signal, grpc_target
from otel_ml.emit.plan import INTERVAL_SECONDS, Plan
from otel_ml.errors import ConfigError

if TYPE_CHECKING:
    from opentelemetry.configuration import models

__all__ = ["plan_from_file"]

_TIMEOUT_SECONDS: Final = 10.0
_DETECTORS: Final = {"service": "service_instance"}
_COERCE: Final[Mapping[str, Callable[[Any], Any]]] = {"string": str, "int": int, "double": float}
_VARIABLE: Final = re.compile(r"\$\{env:([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
_log = logging.getLogger(__name__)


def plan_from_file(path: str | Path) -> Plan:
    """Read the destinations, the resource and the export interval of a file.

    Raises
    ------
    ConfigError
        The file cannot be used, or opentelemetry-configuration is not installed.
    """
    try:
        from opentelemetry.configuration import ConfigurationError, load_config_file
    except ImportError as error:
        raise ConfigError(
            f"OTEL_CONFIG_FILE={path} cannot be read: opentelemetry-configuration is missing",
            remedy="pip install opentelemetry-configuration, or unset OTEL_CONFIG_FILE.",
        ) from error
    try:
        config = load_config_file(path)
    except ConfigurationError as error:
        raise ConfigError(
            f"OTEL_CONFIG_FILE={path}: {error}", remedy="Correct the file, or unset the variable."
        ) from error
    if config.disabled:
        return Plan()
    _fill_in(config)
    found = _Found()
    for reader in config.meter_provider.readers if config.meter_provider else ():
        if reader.periodic is not None:
            found.add("metrics", reader.periodic.exporter)
            if reader.periodic.interval:
                found.intervals.append(reader.periodic.interval / 1000)
        if reader.pull is not None:
            found.provider.add("metrics")
    for processor in config.logger_provider.processors if config.logger_provider else ():
        for step in (processor.batch, processor.simple):
            if step is not None:
                found.add("logs", step.exporter)
    stated = config.resource
    return Plan(
        tuple(found.metrics),
        tuple(found.logs),
        frozenset(found.console),
        frozenset(found.provider),
        lambda: _resource(stated),
        min(found.intervals, default=INTERVAL_SECONDS),
    )


def _fill_in(node: Any) -> Any:
    """Replace ``${env:VAR}`` and ``${env:VAR:-default}`` in every string below a node."""
    if isinstance(node, str):
        return _VARIABLE.sub(lambda match: os.environ.get(match[1]) or match[2] or "", node)
    if isinstance(node, list):
        return [_fill_in(item) for item in node]
    if is_dataclass(node):
        for part in fields(node):
            setattr(node, part.name, _fill_in(getattr(node, part.name)))
    return node


class _Found:
    """Destinations collected so far."""

    def __init__(self) -> None:
        self.metrics: list[Destination] = []
        self.logs: list[Destination] = []
        self.console: set[Signal] = set()
        self.provider: set[Signal] = set()
        self.intervals: list[float] = []

    def add(self, signal: Signal, exporter: Any) -> None:
        into = self.metrics if signal == "metrics" else self.logs
        if exporter.otlp_http is not None:
            into.append(_http(signal, exporter.otlp_http))
        elif exporter.otlp_grpc is not None:
            into.append(_grpc(signal, exporter.otlp_grpc))
        elif exporter.console is not None:
            self.console.add(signal)
        else:
            self.provider.add(signal)


def _http(signal: Signal, stated: Any) -> Destination:
    compression = _compression(stated.compression, ("gzip", "deflate"))
    if stated.encoding is not None and stated.encoding.value != "protobuf":
        _log.warning("encoding %s is not supported; %s go as protobuf", stated.encoding, signal)
    return Destination(
        signal=signal,
        protocol="http",
        endpoint=stated.endpoint or f"http://localhost:4318/v1/{signal}",
        insecure=False,
        compression=compression,
        **_common(stated),
    )


def _grpc(signal: Signal, stated: Any) -> Destination:
    flag = stated.tls.insecure if stated.tls is not None else None
    target, insecure = grpc_target(stated.endpoint or "http://localhost:4317", flag)
    return Destination(
        signal=signal,
        protocol="grpc",
        endpoint=target,
        insecure=insecure,
        compression=_compression(stated.compression, ("gzip",)),
        **_common(stated),
    )


def _common(stated: Any) -> dict[str, Any]:
    headers: dict[str, str] = {}
    for pair in (stated.headers_list or "").split(","):
        name, separator, value = pair.partition("=")
        if separator:
            headers[name.strip().lower()] = value.strip()
    for header in stated.headers or ():
        headers[header.name.lower()] = header.value or ""
    preference = getattr(stated, "temporality_preference", None)
    tls = stated.tls
    return {
        "headers": tuple(headers.items()),
        "timeout": stated.timeout / 1000 if stated.timeout else _TIMEOUT_SECONDS,
        "certificate": tls.ca_file if tls is not None else None,
        "client_certificate": tls.cert_file if tls is not None else None,
        "client_key": tls.key_file if tls is not None else None,
        "delta": preference is not None and preference.value in ("delta", "low_memory"),
    }


def _compression(stated: str | None, allowed: tuple[str, ...]) -> Any:
    value = (stated or "none").lower()
    if value in allowed or value == "none":
        return value
    _log.warning("compression %r is not one of %s; using none", stated, ", ".join(allowed))
    return "none"


def _resource(stated: models.Resource | None) -> Resource:
    """Return the resource of the provider the SDK made from the file, else build it alike.

    The function that builds it in opentelemetry-configuration is not public.
    """
    provider = getattr(trace.get_tracer_provider(), "resource", None)
    if isinstance(provider, Resource):
        return provider
    base = Resource({"service.name": "unknown_service"})
    if stated is None:
        return base
    attributes: dict[str, Any] = {}
    if stated.detection_development is not None:
        attributes.update(_detected(stated.detection_development))
    for pair in (stated.attributes_list or "").split(","):
        name, separator, value = pair.partition("=")
        if separator:
            attributes[name.strip()] = unquote(value.strip())
    for attribute in stated.attributes or ():
        if attribute.value is not None:
            kind = attribute.type.value if attribute.type is not None else ""
            # What came out of an environment variable is a string, whatever the file says it is.
            try:
                attributes[attribute.name] = _COERCE.get(kind, _same)(attribute.value)
            except (TypeError, ValueError):
                _log.warning("resource attribute %s is no %s; left out", attribute.name, kind)
    return base.merge(Resource(attributes, stated.schema_url))


def _same(value: Any) -> Any:
    return value


def _detected(stated: models.ExperimentalResourceDetection) -> dict[str, Any]:
    """Run the detectors that are listed, by their entry points."""
    from fnmatch import fnmatchcase

    found: dict[str, Any] = {}
    for listed in stated.detectors or ():
        for name in (*vars(listed), *listed.additional_properties):
            if getattr(listed, name, None) is None and name not in listed.additional_properties:
                continue
            known = _DETECTORS.get(name, name)
            if name == "service" and os.environ.get("OTEL_SERVICE_NAME"):
                found["service.name"] = os.environ["OTEL_SERVICE_NAME"]
            points = entry_points(group="opentelemetry_resource_detector", name=known)
            try:
                for point in points:
                    found.update(point.load()().detect().attributes)
            except Exception as error:  # A detector is other people's code.
                _log.warning("resource detector %s failed: %s", name, error)
    rules = stated.attributes
    included = (rules.included if rules is not None else None) or ["*"]
    excluded = (rules.excluded if rules is not None else None) or []
    return {
        key: value
        for key, value in found.items()
        if any(fnmatchcase(key, pattern) for pattern in included)
        and not any(fnmatchcase(key, pattern) for pattern in excluded)
    }
