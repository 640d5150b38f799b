"""The value objects that cross the layers, from a captured call to an emitted sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from numpy.typing import NDArray

from otel_ml.stream import FloatArray, IntArray, Stream, StreamClock

__all__ = [
    "AttributeValue",
    "Batch",
    "Buckets",
    "Captured",
    "Event",
    "FloatArray",
    "IntArray",
    "MetricDef",
    "ModelKey",
    "Sample",
    "Severity",
    "Stream",
    "StreamClock",
    "Task",
]

AttributeValue: TypeAlias = str | bool | int | float
Task: TypeAlias = Literal["binary", "multiclass", "regression"]
Severity: TypeAlias = Literal["critical", "warning", "info"]


class ModelKey(NamedTuple):
    """The identity of a model within its service.

    Parameters
    ----------
    name
        Name of the model: from configuration, else its load path, else its class.
    version
        Its version, or None where nothing states one. Never invented.
    """

    name: str
    version: str | None = None


class Captured:
    """One prediction call as the request path saw it, before any conversion.

    Everything is held by reference, except exact built-in lists and `numpy.ndarray`, which the
    capturing layer copies because the application may change them afterwards. The worker turns it
    into a `Batch`; no user code (``__array__``, ``__len__`` …) runs before that.

    Parameters
    ----------
    model
        The model object, or a `ModelKey` where the caller names it.
    method
        Name of the method that was called: ``predict``, ``predict_proba``, …, or ``observe``.
    features
        What was predicted on: a 2-D array, a DataFrame, a list of rows, a mapping of columns.
    output
        What the call returned, or None where it raised.
    time_ns
        Start of the call, nanoseconds since the Unix epoch.
    duration_ns
        How long the call took, or -1 where it is not known.
    trace_id, span_id, trace_flags
        Span context at the time of the call; zeros where there was none.
    prediction_id
        Id returned to the caller; row *i* of the call is ``f"{prediction_id}-{i}"`` when the call
        has several rows, and the id itself when it has one. None: the worker makes one.
    alias
        The caller's own request id, under which labels may arrive too.
    client
        Raw value of the client header. It never leaves the process: the worker hashes it.
    error
        Class name of the exception the call raised, or None.
    outputs
        Outputs of further methods called on the same input in the same request, by method name.
    extra
        Columns given by hand: ``scores``, ``predictions``, ``ids``, ``slices`` and ``event_times``.
    """

    __slots__ = (
        "alias",
        "client",
        "duration_ns",
        "error",
        "extra",
        "features",
        "method",
        "model",
        "output",
        "outputs",
        "prediction_id",
        "span_id",
        "time_ns",
        "trace_flags",
        "trace_id",
    )

    def __init__(
        self,
        model: object,
        method: str,
        features: object,
        output: object,
        time_ns: int,
        duration_ns: int = -1,
        *,
        trace_id: int = 0,
        span_id: int = 0,
        trace_flags: int = 0,
        prediction_id: str | None = None,
        alias: str | None = None,
        client: str | None = None,
        error: str | None = None,
        outputs: dict[str, object] | None = None,
        extra: dict[str, Any] | None = None,
    ) -> None:
        self.model = model
        self.method = method
        self.features = features
        self.output = output
        self.time_ns = time_ns
        self.duration_ns = duration_ns
        self.trace_id = trace_id
        self.span_id = span_id
        self.trace_flags = trace_flags
        self.prediction_id = prediction_id
        self.alias = alias
        self.client = client
        self.error = error
        self.outputs = outputs
        self.extra = extra


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of one model in columns, ready to be counted.

    Parameters
    ----------
    n
        Number of rows; every array below has this length.
    features
        Column by name; float64 for numbers (NaN is missing), object for everything else.
    predictions
        Predicted class labels as strings (object array), or predicted values (float64), or None.
    scores
        Probability of the positive class, shape ``(n,)``; or of each class, shape ``(n, K)``.
    ids
        Prediction ids, or None where labels will never be joined.
    aliases
        Second ids under which labels may arrive, or None.
    slices
        Sensitive and slicing columns by name, as strings (object arrays).
    clients
        Pseudonyms of the callers, or None.
    versions
        Version of the model that answered each row, where one engine sees several, or None.
    event_times
        Seconds since the Unix epoch, shape ``(n,)``.
    durations
        Duration in seconds of each *call* in the batch (not of each row), shape ``(calls,)``.
    sizes
        Rows of each call, shape ``(calls,)``.
    errors
        Class names of the exceptions of calls that failed.
    invalid
        Rows whose score is no probability, and was left out.
    """

    n: int
    features: Mapping[str, NDArray[Any]]
    predictions: NDArray[Any] | None = None
    scores: FloatArray | None = None
    ids: Sequence[str] | None = None
    aliases: Sequence[str | None] | None = None
    slices: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    clients: Sequence[str | None] | None = None
    versions: Sequence[str | None] | None = None
    event_times: FloatArray | None = None
    durations: FloatArray | None = None
    sizes: IntArray | None = None
    errors: Sequence[str] = ()
    invalid: int = 0


@dataclass(frozen=True, slots=True)
class MetricDef:
    """Definition of a metric, generated from the registry.

    Parameters
    ----------
    name
        Name, as in ``ml.predictions``.
    instrument
        ``counter``, ``updowncounter``, ``gauge`` or ``histogram``.
    unit
        UCUM unit or annotation.
    description
        One sentence.
    attributes
        Names of the attributes a point may carry.
    required
        Those it must carry.
    """

    name: str
    instrument: Literal["counter", "updowncounter", "gauge", "histogram"]
    unit: str
    description: str
    attributes: tuple[str, ...]
    required: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Buckets:
    """Cumulative explicit-bounds histogram: ``counts[i]`` is of ``(bounds[i-1], bounds[i]]``.

    Parameters
    ----------
    bounds
        Upper bounds, strictly increasing and finite, shape ``(B,)``.
    counts
        Observations of each bucket since the start of the process, shape ``(B + 1,)``.
    sum
        Sum of the observations, or None where it is not kept.
    """

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    sum: float | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """One point of one metric; counters and histograms are cumulative since the process start.

    Parameters
    ----------
    metric
        Its definition.
    attributes
        Attributes of the point.
    value
        A number, or `Buckets` for a histogram.
    """

    metric: MetricDef
    attributes: Mapping[str, AttributeValue]
    value: float | int | Buckets


@dataclass(frozen=True, slots=True)
class Event:
    """A log record with an event name.

    Parameters
    ----------
    name
        Static event name from the registry.
    attributes
        Attributes of the event; sequences of strings and numbers are allowed.
    time_ns
        When it happened, nanoseconds since the Unix epoch.
    severity
        Becomes the severity number: info 9, warning 13, critical 17.
    body
        One sentence for people, or None.
    trace_id, span_id
        Span context of a row that shows it; zeros where there is none.
    """

    name: str
    attributes: Mapping[str, AttributeValue | Sequence[str] | Sequence[float]]
    time_ns: int
    severity: Severity
    body: str | None = None
    trace_id: int = 0
    span_id: int = 0


SEVERITY_NUMBER: Final[Mapping[Severity, int]] = {"info": 9, "warning": 13, "critical": 17}
