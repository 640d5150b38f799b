"""What the request path keeps of a call: a plain list in, a `Captured` with the same content out.

A list with a fixed order is the cheapest record that Python makes, by a factor of five. It is made,
filled and passed on by the request path and read by the worker; everybody else sees `Captured`.

Every container that waits for the worker brings Python's next collection of garbage nearer, and a
request waits for that. The values of a single row are therefore in the record itself, at its end.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

from opentelemetry.trace import Span, get_current_span

from otel_ml.process import mark

if TYPE_CHECKING:
    from otel_ml.types import Captured

__all__ = [
    "BY_HAND",
    "CONTEXT",
    "DURATION",
    "FEATURES",
    "GIVEN",
    "ID",
    "INLINE",
    "METHOD",
    "MODEL",
    "MORE",
    "OUTPUT",
    "REQUEST",
    "ROW",
    "SOURCE",
    "Caller",
    "Frame",
    "More",
    "captured",
    "features_of",
    "prediction_id",
    "random_bits",
]

Frame: TypeAlias = list[Any]

BY_HAND: Final = "observe"  # method of a call that was reported by hand

MODEL: Final = 0  # the object that was asked
METHOD: Final = 1  # name of its method
FEATURES: Final = 2  # a snapshot of what it was asked about, or `INLINE`
OUTPUT: Final = 3  # a snapshot of its answer; of a call reported by hand, a tuple as in `GIVEN`
DURATION: Final = 4  # nanoseconds
CONTEXT: Final = 5  # of OpenTelemetry, at the start of the call
REQUEST: Final = 6  # a `Caller`, or None outside of requests
ID: Final = 7  # the prediction id once somebody has been told, None before
SOURCE: Final = 8  # what it was asked about itself; None once no further method can be called on it
MORE: Final = 9  # a `More`, or None, as of most calls
ROW: Final = 10  # from here on the values of a list of one list, where `FEATURES` says `INLINE`


class _Inline:
    """Type of `INLINE`."""

    __slots__ = ()


INLINE: Final = _Inline()
"""Stands for the snapshot of a list of one list, whose values are at the end of the record."""

GIVEN: Final = ("scores", "predictions", "ids", "slices", "event_times")


class Caller(Protocol):
    """Who asked."""

    alias: str | None
    client: str | None
    span: Span | None


class More:
    """What few calls have.

    Parameters
    ----------
    error
        Class name of the exception the call raised, or None.
    outputs
        Outputs of further methods called on the same input, by method name, but for `latest`.
    methods
        Further methods that were called by the application itself.
    latest
        Output of the last of these.
    """

    __slots__ = ("_latest", "_outputs", "error", "methods")

    def __init__(
        self,
        error: str | None = None,
        outputs: dict[str, object] | None = None,
        methods: tuple[str, ...] = (),
        latest: object = None,
    ) -> None:
        self.error = error
        self.methods = methods
        self._outputs = outputs
        self._latest = latest

    @property
    def outputs(self) -> dict[str, object] | None:
        """Outputs of all further methods, by method name."""
        if not self.methods:
            return self._outputs
        return {**(self._outputs or {}), self.methods[-1]: self._latest}


_random = Random()
_seeded = mark()


def random_bits() -> int:
    """Return 80 random bits that no other process returns.

    Notes
    -----
    They come from a generator of our own, seeded by the operating system in each process, so
    neither a fork nor an application that seeds `random` makes two processes give out one id.
    """
    global _seeded
    if not _seeded[0]:
        _random.seed()
        _seeded = mark()
    return _random.getrandbits(80)


def prediction_id(frame: Frame, time_ns: int) -> str:
    """Return the id of a prediction; it is made when somebody first asks.

    Parameters
    ----------
    frame
        The call; it keeps the id.
    time_ns
        Now, nanoseconds since the Unix epoch.

    Returns
    -------
    str
        32 hex digits: 48 bits of milliseconds, then 80 random bits.
    """
    if frame[ID] is None:
        frame[ID] = f"{time_ns // 1_000_000 << 80 | random_bits():032x}"
    return str(frame[ID])


def features_of(frame: Frame) -> Any:
    """Return the snapshot of what a call was asked about."""
    features = frame[FEATURES]
    return [frame[ROW:]] if features is INLINE else features


def captured(frame: Frame, time_ns: int) -> Captured:
    """Return the record of a call by names.

    Parameters
    ----------
    frame
        The call.
    time_ns
        Now, nanoseconds since the Unix epoch.
    """
    from otel_ml.types import Captured

    if frame[METHOD] == BY_HAND:
        extra = dict(zip(GIVEN, frame[OUTPUT], strict=True))
        return Captured(
            frame[MODEL], BY_HAND, features_of(frame), None, time_ns, frame[DURATION], extra=extra
        )
    caller: Caller | None = frame[REQUEST]
    more: More | None = frame[MORE]
    call = Captured(
        frame[MODEL],
        frame[METHOD],
        features_of(frame),
        frame[OUTPUT],
        time_ns - frame[DURATION],
        frame[DURATION],
        prediction_id=frame[ID],
        alias=None if caller is None else caller.alias,
        client=None if caller is None else caller.client,
        error=None if more is None else more.error,
        outputs=None if more is None else more.outputs,
    )
    span = get_current_span(frame[CONTEXT])
    if not span.get_span_context().is_valid and caller is not None and caller.span is not None:
        # a thread pool takes the request along, but not the context of OpenTelemetry
        span = caller.span
    place = span.get_span_context()
    if place.is_valid:
        call.trace_id, call.span_id = place.trace_id, place.span_id
        call.trace_flags = place.trace_flags
    return call
