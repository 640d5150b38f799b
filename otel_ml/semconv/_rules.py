"""A registry in, the naming and unit rules it breaks out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain
from typing import Final

from otel_ml.semconv._definitions import Metric, Registry

__all__ = ["violations"]

_NAME: Final = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*(\.[a-z][a-z0-9]*(_[a-z0-9]+)*)+")
_MEMBER: Final = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_SCHEMA_URL: Final = re.compile(r"https?://[^/]+/.+/\d+\.\d+\.\d+|https?://[^/]+/\d+\.\d+\.\d+")
_UNIT_WORDS: Final = frozenset({"seconds", "milliseconds", "ms", "bytes", "percent", "total"})


def violations(registry: Registry) -> list[str]:
    """Rules of the OpenTelemetry naming guide, and this project's own, that are broken.

    Parameters
    ----------
    registry
        A registry whose references are resolved.

    Returns
    -------
    list of str
        One sentence for each, naming the definition.
    """
    return list(
        chain(
            _url(registry),
            _names(registry),
            _attributes(registry),
            _metrics(registry),
            _events(registry),
        )
    )


def _url(registry: Registry) -> Iterator[str]:
    if not _SCHEMA_URL.fullmatch(registry.schema_url):
        yield f"schema_url {registry.schema_url!r} does not end in a version such as /0.1.0"


def _names(registry: Registry) -> Iterator[str]:
    own = {k: a.annotations for k, a in registry.attributes.items() if not a.upstream}
    signals = {m.name: m.annotations for m in registry.metrics.values()}
    for kind, names in (("attribute", own), ("metric", signals)):
        namespaces = {
            name.rsplit(".", n)[0] for name in names for n in range(1, name.count(".") + 1)
        }
        for name, own_annotations in names.items():
            if not name.startswith("ml."):
                yield f"{kind} {name} is outside the namespace ml"
            if name in namespaces and not own_annotations.get("also_namespace"):
                yield f"{kind} {name} is also a namespace, and also_namespace does not say why"
    for name in chain(own, signals, registry.events):
        if not _NAME.fullmatch(name):
            yield f"{name} is not lower case with dots between and single underscores within words"


def _attributes(registry: Registry) -> Iterator[str]:
    for attribute in registry.attributes.values():
        key = attribute.key
        if attribute.type.startswith("string") and not (attribute.members or attribute.examples):
            yield f"attribute {key} is a string without examples"
        for what in ("id", "value"):
            values = [getattr(member, what) for member in attribute.members]
            if len(set(values)) < len(values):
                yield f"attribute {key} has two members of the same {what}"
        for member in attribute.members:
            if not _MEMBER.fullmatch(member.id):
                yield f"attribute {key}: member {member.id!r} is not a lower-case word"
    signals = (registry.metrics, registry.events, registry.groups)
    used = {key for table in signals for signal in table.values() for key in signal.names()}
    used.update(*(entity.identity + entity.description for entity in registry.entities.values()))
    for key, attribute in registry.attributes.items():
        if key not in used and not attribute.upstream:
            yield f"attribute {key} is used by no signal"


def _metrics(registry: Registry) -> Iterator[str]:
    for metric in registry.metrics.values():
        yield from _metric(metric)
        if not metric.note:
            yield f"metric {metric.name} does not say in its note which question it answers"


def _metric(metric: Metric) -> Iterator[str]:
    last = metric.name.rsplit(".", 1)[-1]
    if metric.unit == "1" and metric.instrument == "gauge" and last != "ratio":
        # Some translations to Prometheus append `_ratio` to such a gauge and others do not.
        yield f"gauge {metric.name} has unit 1, so its last word has to be ratio"
    if last.split("_")[-1] in _UNIT_WORDS:
        yield f"metric {metric.name} repeats its unit or type in its name"
    if last == "duration" and (metric.unit, metric.instrument) != ("s", "histogram"):
        yield f"metric {metric.name} is a duration, so it has to be a histogram in s"
    if metric.instrument == "updowncounter" and last.endswith("s") and last != "status":
        yield f"updowncounter {metric.name} is plural"


def _events(registry: Registry) -> Iterator[str]:
    for event in registry.events.values():
        key, numbers = event.severity_attribute, event.severity_numbers
        if any(number not in range(1, 25) for number in numbers.values()):
            yield f"event {event.name} has a severity number outside 1 to 24"
        if key is None:
            if len(numbers) != 1:
                yield f"event {event.name} has several severity numbers and no severity_attribute"
        elif key not in event.at_level("required"):
            yield f"event {event.name}: severity_attribute {key} is not a required attribute of it"
        elif {member.value for member in registry.attributes[key].members} != set(numbers):
            yield f"event {event.name}: severity_numbers do not cover the members of {key}"
