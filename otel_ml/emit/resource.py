"""The application's resource in, the resource of our own telemetry in this process out."""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import TypeAlias

from opentelemetry import trace
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource as ResourceMessage
from opentelemetry.sdk.resources import (
    SERVICE_NAME,
    TELEMETRY_SDK_LANGUAGE,
    TELEMETRY_SDK_NAME,
    TELEMETRY_SDK_VERSION,
    OTELResourceDetector,
    Resource,
)

from otel_ml.emit.values import Unencodable, any_value, text
from otel_ml.semconv.attributes import ML_APPLICATION_INSTANCE_ID, SERVICE_INSTANCE_ID

__all__ = [
    "EncodedResource",
    "ResourceSource",
    "application_resource",
    "encode_resource",
    "instance_id",
]

_log = logging.getLogger(__name__)
_instances: dict[int, str] = {}
_detected: dict[int, Resource] = {}


def _forget() -> None:
    # a process number may come again: an ancestor's, or the 1 of a container made by a fork
    _instances.clear()
    _detected.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)

ResourceSource: TypeAlias = Callable[[], Resource]


@dataclass(frozen=True, slots=True)
class EncodedResource:
    """A resource ready to be sent.

    Parameters
    ----------
    message
        Its attributes.
    schema_url
        Schema of these attributes; empty where none is stated.
    """

    message: ResourceMessage
    schema_url: str


def instance_id() -> str:
    """Return the UUID of this process: the same for all sinks, another one after a fork."""
    pid = os.getpid()
    # One dict operation instead of a lock: a lock could be held by another thread at the fork.
    return _instances.get(pid) or _instances.setdefault(pid, str(uuid.uuid4()))


def application_resource() -> Resource:
    """Return the resource the application describes itself with.

    That is the one of its tracer provider, where it has configured one in code or by a file, and
    otherwise what the environment and the resource detectors say.
    """
    stated = getattr(trace.get_tracer_provider(), "resource", None)
    if isinstance(stated, Resource):
        return stated
    pid = os.getpid()
    try:
        found = _detected[pid] = Resource.create()
        return found
    except Exception:  # Detectors are other people's code, and need threads that exit forbids.
        if pid in _detected:
            return _detected[pid]  # a worker started again at exit goes on with the same series
        _log.debug("resource detection failed; the variables are used alone", exc_info=True)
        known = Resource(
            {
                SERVICE_NAME: "unknown_service",
                TELEMETRY_SDK_LANGUAGE: "python",
                TELEMETRY_SDK_NAME: "opentelemetry",
                TELEMETRY_SDK_VERSION: version("opentelemetry-sdk"),
            }
        )
        return known.merge(OTELResourceDetector().detect())


def encode_resource(resource: Resource) -> EncodedResource:
    """Encode the resource with the instance id of this process in the place of its own."""
    attributes = dict(resource.attributes)
    own = attributes.pop(SERVICE_INSTANCE_ID, None)
    if own is not None:
        attributes[ML_APPLICATION_INSTANCE_ID] = own
    attributes[SERVICE_INSTANCE_ID] = instance_id()
    encoded = []
    for key, value in attributes.items():
        try:
            encoded.append(KeyValue(key=text(key), value=any_value(value)))
        except Unencodable as error:
            _log.warning("resource attribute %r is left out: %s", key, error)
    return EncodedResource(ResourceMessage(attributes=encoded), resource.schema_url)
