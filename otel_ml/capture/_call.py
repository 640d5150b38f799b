"""A method call comes in as it begins and ends; its record goes out to its request or pipeline.

The request path is here and in `_watch`: no user code, no lock, no log record, and of OpenTelemetry
only the current context is read. Nothing raises; what goes wrong is counted.
"""

from __future__ import annotations

from typing import Any

from numpy import ndarray
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind
from opentelemetry.trace.propagation import _SPAN_KEY

from otel_ml.capture._scope import Request, lost, settings, submit
from otel_ml.frame import FEATURES, METHOD, MODEL, MORE, OUTPUT, SOURCE, Frame, More
from otel_ml.snapshot import COPY_BYTES, by_value, rows

__all__ = ["Switch", "finish", "named", "note", "unserved"]


class _Alone(dict[str, tuple[str, ...]]):
    """A tuple for each method, made once."""

    def __missing__(self, method: str) -> tuple[str, ...]:
        return self.setdefault(method, (method,))


_ENRICHING = frozenset({"predict_proba", "decision_function"})
_SERVER = SpanKind.SERVER
_alone = _Alone()
_name_of = type.__dict__["__name__"].__get__  # runs no code of a metaclass


class Switch:
    """On while the instrumentor is; a wrapper that outlives it only passes calls through."""

    __slots__ = ("on",)

    def __init__(self) -> None:
        self.on = False


class Notes:
    """What the calls inside an open call say about it."""

    __slots__ = ("delegated", "inner", "last")

    def __init__(self) -> None:
        self.inner: dict[str, object] | None = None
        self.last: tuple[object, object, str, object] | None = None
        self.delegated: tuple[object, dict[str, object]] | None = None

    def take(
        self, call: Frame, model: object, method: str, features: object, result: object
    ) -> None:
        """Take from an inner call what makes this prediction richer: probabilities and scores.

        Notes
        -----
        Two cases are sure to be of the same rows: the model asked itself on the same input
        (``predict`` by way of ``predict_proba``), and a wrapper returned an inner model's result
        as its own (a pipeline), which had asked itself so.
        """
        if method in _ENRICHING:
            if model is call[MODEL] and features is call[SOURCE]:
                self.inner = {**(self.inner or {}), method: by_value(result)}
            else:
                self.last = (model, features, method, result)
        elif method == "predict" and self.last is not None:
            if self.last[0] is model and self.last[1] is features:
                self.delegated = (result, {self.last[2]: by_value(self.last[3])})
            self.last = None

    def of(self, result: object) -> dict[str, object] | None:
        """Return outputs by method that go with the result of the open call."""
        if self.inner is not None:
            return self.inner
        if self.delegated is not None and self.delegated[0] is result:
            return self.delegated[1]
        return None


def named(kwargs: dict[str, Any]) -> object:
    """Return what a method is asked about, given by name."""
    if "X" in kwargs:
        return kwargs["X"]
    return next(iter(kwargs.values()), None)


def unserved(context: Context, features: object) -> bool:
    """Say whether a call outside of a request is nobody's; count it then. Never raises."""
    try:
        span: Span | None = context.get(_SPAN_KEY)  # type: ignore[assignment]  # what is put there
        if span is not None and getattr(span, "kind", None) is _SERVER:
            return False  # as most are
        if _served_by(span) or settings().capture.offline:
            return False
        lost("not_serving", rows(features) or 1)
    except KeyboardInterrupt:
        raise
    except BaseException:  # spans may be of anybody
        lost()
    return True


def finish(frame: Frame, request: Request | None, result: Any, error: BaseException | None) -> None:
    """Close a call and hand it on. Never raises.

    Parameters
    ----------
    frame
        The call. Its record is complete but for what few calls have.
    request
        What it was served for.
    result
        What the method returned.
    error
        What it raised instead, or None.
    """
    try:
        if type(result) is ndarray and result.nbytes <= COPY_BYTES and frame[MORE] is None:
            frame[OUTPUT] = result.copy("K")  # as most calls are
            if request is not None and not request.entries:
                request.entries.append(frame)
                if request.closed or request.started:
                    request.pass_on()
                return
        else:
            # With return_std and the like the prediction comes first.
            frame[OUTPUT] = by_value(result[0] if type(result) is tuple and result else result)
            if frame[MORE] is not None or error is not None:
                frame[MORE] = _more(frame[MORE], result, error)
        if request is None:
            submit(frame)
        elif not request.entries or not _merged(frame, request):
            request.entries.append(frame)
            request.pass_on()
    except KeyboardInterrupt:
        raise
    except BaseException:  # spans may be of anybody
        lost()


def _more(notes: Notes | None, result: object, error: BaseException | None) -> More | None:
    outputs = None if notes is None else notes.of(result)
    if outputs is None and error is None:
        return None
    return More(None if error is None else _name_of(type(error)), outputs)


def _merged(frame: Frame, request: Request) -> bool:
    """Add a call to an earlier one on the same input; say whether there was one."""
    more: More | None = frame[MORE]
    if more is None or more.error is None:
        earlier = request.earlier(frame[MODEL], frame[METHOD], frame[SOURCE])
        if earlier is not None:
            _merge(earlier, frame[METHOD], frame[OUTPUT], None if more is None else more.outputs)
            return True
    if frame[FEATURES] is None:  # it looked as if there was one
        frame[FEATURES] = by_value(frame[SOURCE])
    return False


def _merge(earlier: Frame, method: str, output: object, inner: dict[str, object] | None) -> None:
    """Add the output of another method called on the same input."""
    more: More | None = earlier[MORE]
    if more is None:
        earlier[MORE] = More(None, inner, _alone[method], output)
        return
    # A new record, because the worker may already be reading the old one.
    outputs = {**(more.outputs or {}), **(inner or {})}
    earlier[MORE] = More(more.error, outputs, (*more.methods, method), output)


def note(
    call: Frame,
    model: object,
    method: str,
    features: object,
    result: object,
) -> None:
    """Tell an open call what a call inside of it returned. Never raises."""
    try:
        if call[MORE] is None:
            call[MORE] = Notes()
        call[MORE].take(call, model, method, features, result)
    except Exception:
        # What an inner call would have added is missing; the prediction itself is not.
        call[MORE] = None


def _served_by(span: Span | None) -> bool:
    """Say whether the current span shows that a request or message is being served.

    Notes
    -----
    A span that was not sampled does not tell its kind. It is taken for a server's, because
    predictions must not depend on sampling.
    """
    if span is None:
        return False
    kind = getattr(span, "kind", None)
    if kind is None:
        return span.get_span_context().is_valid and not span.is_recording()
    return kind is _SERVER or kind is SpanKind.CONSUMER
