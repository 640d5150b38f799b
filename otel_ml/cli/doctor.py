"""``otel-ml doctor``: the environment in, what is wired, what is not, and how to fix it out."""

from __future__ import annotations

import argparse
import importlib.metadata as metadata
import json
import os
import socket
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from otel_ml.config import Settings, load
from otel_ml.config.loader import unknown_variables
from otel_ml.errors import OtelMlError
from otel_ml.worker import load_reference

if TYPE_CHECKING:
    from otel_ml.emit.destination import Destination

__all__ = ["Finding", "examine", "register", "run"]

_LIBRARIES: Final = {"ml_sklearn": "scikit-learn", "ml_starlette": "starlette"}
_PORTS: Final = {"http": 80, "https": 443}
_OTHER_SCHEMES: Final = ("unix", "unix-abstract", "vsock", "xds", "dns", "ipv4", "ipv6")  # of gRPC
_MARK: Final = {"ok": "ok   ", "note": "note ", "broken": "WRONG"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Parameters
    ----------
    level
        ``ok``, ``note`` (works, but you may want to know) or ``broken``.
    what
        What was found.
    remedy
        What to do, where something is to be done.
    """

    level: str
    what: str
    remedy: str = ""


def register(subparsers: Any) -> None:
    """Add the verb."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "doctor",
        help="say what is wired, what is not, and how to fix it",
        description="Check configuration, references, instrumentation and the way to the "
        "Collector, with the environment variables as they are. Changes nothing.",
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="configuration to check")
    parser.add_argument("--json", metavar="FILE", help="write the findings as JSON; - is stdout")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the findings; 1 where something is broken."""
    environ = dict(os.environ)
    if arguments.config is not None:
        environ["OTEL_ML_CONFIG_FILE"] = str(arguments.config)
    findings = list(examine(environ))
    broken = any(f.level == "broken" for f in findings)
    if arguments.json is not None:
        document = {
            "schema": "otel-ml/doctor/1",
            "ok": not broken,
            "findings": [asdict(f) for f in findings],
        }
        text = json.dumps(document, indent=1) + "\n"
        if arguments.json == "-":
            sys.stdout.write(text)
        else:
            Path(arguments.json).write_text(text, encoding="utf-8")
    if arguments.json != "-":
        for finding in findings:
            print(f"{_MARK[finding.level]} {finding.what}")
            if finding.remedy:
                print(f"        {finding.remedy}")
    return 1 if broken else 0


def examine(environ: Mapping[str, str]) -> Iterator[Finding]:
    """Yield what is found, in the order a prediction would meet it."""
    try:
        settings = load(environ)
    except OtelMlError as error:
        yield Finding("broken", error.message, error.remedy)
        return
    for problem in unknown_variables(environ):
        yield Finding("note", problem, "correct its name, unless it is meant for something else")
    source = settings.source or "no file; defaults and environment variables"
    yield Finding("ok", f"configuration: {source}")
    if not settings.enabled:
        yield Finding("note", "OTEL_ML_ENABLED is false: nothing is captured")
    yield from _instrumentation(environ)
    yield from _references(settings)
    yield from _state(settings)
    yield from _destination(environ)


def _instrumentation(environ: Mapping[str, str]) -> Iterator[Finding]:
    points = {p.name for p in metadata.entry_points(group="opentelemetry_instrumentor")}
    for name, library in _LIBRARIES.items():
        try:
            version = metadata.version(library)
        except metadata.PackageNotFoundError:
            yield Finding("note", f"{library} is not installed: {name} stays idle")
            continue
        if name not in points:
            yield Finding(
                "broken",
                f"instrumentation {name} of {library} is not registered",
                "reinstall otel-ml into this environment",
            )
        else:
            yield Finding("ok", f"{library} {version} is watched by {name}")
    disabled = environ.get("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "")
    for name in {n.strip() for n in disabled.split(",")} & {"ml", *_LIBRARIES, "*"}:
        yield Finding("note", f"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS switches {name} off")
    if not list(metadata.entry_points(group="opentelemetry_distro")):
        yield Finding(
            "note",
            "no distro is installed: opentelemetry-instrument sets up no provider of its own "
            "(metrics and incidents of models are sent all the same)",
            "pip install opentelemetry-distro",
        )


def _references(settings: Settings) -> Iterator[Finding]:
    for entry in settings.models:
        name = entry.name or "any model"
        try:
            reference = load_reference(entry, name)
        except OtelMlError as error:
            yield Finding("broken", error.message, error.remedy)
            continue
        if reference is None:
            yield Finding(
                "note",
                f"{name}: no reference; the first {settings.learn_rows} predictions become it",
                "make one with: otel-ml init --reference DATA",
            )
            continue
        yield Finding(
            "ok",
            f"{name}: reference {reference.id} of {reference.model_name}, "
            f"{len(reference.features)} features",
        )
        watched = set()
        if reference.group_layout is not None:
            watched = {group.attribute for group in reference.group_layout.groups}
        for column in (*entry.sensitive, *entry.slices):
            if column not in watched:
                # Being a feature is not enough: groups are counted only where init was told.
                yield Finding(
                    "broken",
                    f"{name}: column {column!r} (sensitive or slices) is not in {entry.reference} "
                    "as a group to watch",
                    "build the reference with it, as otel-ml init --sensitive or --slice does; "
                    f"it has: {', '.join(sorted(watched)[:12]) or 'none'}",
                )


def _state(settings: Settings) -> Iterator[Finding]:
    if settings.state_dir is None:
        yield Finding(
            "note",
            "no state directory: labels can only be reported by otel_ml.record_labels",
            "set OTEL_ML_STATE_DIR to use: otel-ml label",
        )
        return
    above = (settings.state_dir, *settings.state_dir.parents)
    place = next((p for p in above if os.path.lexists(p)), Path())
    if place.is_dir() and os.access(place, os.W_OK | os.X_OK):
        yield Finding("ok", f"state directory {settings.state_dir}")
    else:
        yield Finding(
            "broken",
            f"state directory {settings.state_dir} cannot be written",
            "give the user of the server write access, or choose another state_dir",
        )


def _destination(environ: Mapping[str, str]) -> Iterator[Finding]:
    from otel_ml.emit.build import plan

    try:
        found = plan(environ)
    except OtelMlError as error:
        yield Finding("broken", error.message, error.remedy)
        return
    destinations = (*found.metrics, *found.logs)
    if not destinations and not found.console and not found.provider:
        yield Finding("note", "telemetry goes nowhere: the SDK or its exporters are disabled")
    for destination in {d.endpoint: d for d in destinations}.values():
        yield _reachable(destination)


def _reachable(destination: Destination) -> Finding:
    url = destination.endpoint
    try:
        shown = destination.shown
    except ValueError as error:  # no URL at all, and it may hold a password
        return Finding(
            "broken",
            f"the OTLP endpoint of {destination.signal} is no URL: {error}",
            "correct OTEL_EXPORTER_OTLP_ENDPOINT",
        )
    scheme = url.partition(":")[0]
    if scheme in _OTHER_SCHEMES:
        return Finding("note", f"OTLP endpoint {shown} is no TCP address: not tried")
    try:
        parts = urlsplit(url if "://" in url else f"//{url}")
        address = (parts.hostname or "localhost", parts.port or _PORTS.get(parts.scheme, 4317))
        with socket.create_connection(address, timeout=2):
            return Finding("ok", f"OTLP endpoint {shown} answers")
    except ValueError as error:
        return Finding(
            "broken", f"OTLP endpoint {shown}: {error}", "correct OTEL_EXPORTER_OTLP_ENDPOINT"
        )
    except OSError as error:
        return Finding(
            "broken",
            f"OTLP endpoint {shown} does not answer ({error.strerror or error})",
            "start the Collector, or point OTEL_EXPORTER_OTLP_ENDPOINT at it",
        )
