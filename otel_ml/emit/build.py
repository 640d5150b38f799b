"""The environment in, the sinks that it asks for out."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping

from otel_ml.config import active
from otel_ml.emit.plan import INTERVAL_SECONDS, Plan, interval_from_environ, plan_from_environ
from otel_ml.emit.points import INSTRUMENTS
from otel_ml.emit.sink import Sink
from otel_ml.errors import ConfigError

__all__ = ["build_sinks", "export_interval", "plan"]

_log = logging.getLogger(__name__)


def plan(environ: Mapping[str, str]) -> Plan:
    """Return where telemetry goes; nowhere with ``OTEL_SDK_DISABLED``.

    With ``OTEL_CONFIG_FILE`` the file alone decides.

    Raises
    ------
    ConfigError
        The configuration file cannot be used.
    """
    path = _file(environ)
    if path:
        from otel_ml.emit.declarative import plan_from_file

        return plan_from_file(path)
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return Plan()
    return plan_from_environ(environ)


def build_sinks(environ: Mapping[str, str] = os.environ) -> list[Sink]:
    """Return the sinks that the environment asks for; nothing is connected yet.

    Where a signal goes both to OTLP and to another exporter of the application's provider, that
    provider sends what it is given to both. So the OTLP sink then sends only what the provider
    cannot: histograms. The settings in force (`otel_ml.config.active`) say whether a spool is used.

    Parameters
    ----------
    environ
        The environment variables. Resource detectors read those of the process.

    Returns
    -------
    list of Sink
        Empty where telemetry is disabled, or the configuration file cannot be used, which is said
        in the log.
    """
    try:
        found = plan(environ)
    except ConfigError as error:
        _log.error("no telemetry of models is sent: %s", error)
        return []
    sinks: list[Sink] = []
    instruments = frozenset({"histogram"}) if "metrics" in found.provider else INSTRUMENTS
    logs_to = () if "logs" in found.provider else found.logs
    if found.metrics or logs_to:
        from otel_ml.emit.otlp import OtlpSink

        kept = active().export
        # One sink, since it sends to all of its destinations at the same time.
        sinks.append(
            OtlpSink(
                *found.metrics,
                *logs_to,
                resource=found.resource,
                instruments=instruments,
                spool=kept.spool,
                spool_bytes=kept.spool_bytes,
            )
        )
    if found.console:
        from otel_ml.emit.console import ConsoleSink

        sinks.append(
            ConsoleSink(
                metrics="metrics" in found.console,
                logs="logs" in found.console,
                resource=found.resource,
            )
        )
    if found.provider:
        from otel_ml.emit.observable import ObservableSink

        sinks.append(
            ObservableSink(metrics="metrics" in found.provider, logs="logs" in found.provider)
        )
    return sinks


def export_interval(environ: Mapping[str, str] = os.environ) -> float:
    """Return the seconds between two exports.

    That is ``OTEL_METRIC_EXPORT_INTERVAL`` (milliseconds), or the shortest ``interval`` of the
    file's periodic readers; a value that cannot be used is said in the log, and is 60 s.
    """
    if not _file(environ):
        return interval_from_environ(environ)
    try:
        return plan(environ).interval
    except ConfigError as error:
        _log.error("using an export interval of %d s: %s", INTERVAL_SECONDS, error)
        return INTERVAL_SECONDS


def _file(environ: Mapping[str, str]) -> str:
    return environ.get("OTEL_CONFIG_FILE", "").strip()
