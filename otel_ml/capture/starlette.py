"""Starlette and FastAPI: requests come in, each gets a scope that collects its predictions.

The server's own span is annotated and the prediction ids are put on the response; no span is made.
Nothing here emits a prediction: the model library does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from functools import partial, wraps
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from otel_ml.capture import _scope
from otel_ml.capture._base import Instrumentor, Patches
from otel_ml.capture._scope import SCOPE, Request, lost
from otel_ml.capture._server_span import annotate, current_server_span, tell_partial

if TYPE_CHECKING:
    from otel_ml.config import Settings

__all__ = ["StarletteInstrumentor"]

ASGIScope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Any, ASGIScope, Receive, Send], Awaitable[None]]

FLUSH_SECONDS: Final = 3.0
"""How long the end of a server may wait for the last export."""

_MARK: Final = "otel_ml.request"
_MAX_HEADER: Final = 256  # characters of a client or request id that are kept


class StarletteInstrumentor(Instrumentor):
    """Give model calls the request they serve; the entry point is ``ml_starlette``."""

    name = "ml_starlette"
    requires = ("starlette >= 0.37",)

    def __init__(self) -> None:
        super().__init__()
        if not hasattr(self, "_patches"):
            self._patches = Patches()

    def hooks(self) -> Mapping[str, Callable[[ModuleType], None]]:
        """Return what to do with each module once it is imported."""
        return {
            "starlette.applications": self._patch_application,
            "starlette.middleware.errors": self._patch_outer_middleware,
            "starlette.middleware.exceptions": self._patch_inner_middleware,
            "uvicorn.server": self._patch_server,
            "concurrent.futures.thread": self._patch_threads,
        }

    def deactivate(self) -> None:
        """Put everything back as it was."""
        self._patches.restore()

    def _replace(self, owner: Any, name: str, wrap: Callable[[Any], Any]) -> None:
        if not self._patches.has(owner, name):
            self._patches.replace(owner, name, wrap(vars(owner)[name]))

    def _patch_application(self, module: ModuleType) -> None:
        self._replace(module.Starlette, "__call__", serving)

    def _patch_outer_middleware(self, module: ModuleType) -> None:
        outermost = partial(spotting, outermost=True)
        self._replace(module.ServerErrorMiddleware, "__call__", outermost)

    def _patch_inner_middleware(self, module: ModuleType) -> None:
        self._replace(module.ExceptionMiddleware, "__call__", spotting)

    def _patch_server(self, module: ModuleType) -> None:
        self._replace(module.Server, "shutdown", flushing)

    def _patch_threads(self, module: ModuleType) -> None:
        from otel_ml.capture._threads import carrying

        self._replace(module.ThreadPoolExecutor, "submit", carrying)


def serving(call: App) -> App:
    """Wrap ``Starlette.__call__``: the outermost application of a request opens its scope.

    Notes
    -----
    The mark is in the ASGI scope, which mounted applications share and a request made from within
    a request does not. Where FastAPI has telemetry of its own, its span is current here already.
    """

    @wraps(call)
    async def served(self: Any, scope: ASGIScope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind == "lifespan":
            await call(self, scope, receive, _flush_when_over(send))
            return
        request = None if _MARK in scope else _open(scope, kind)
        if request is None:
            await call(self, scope, receive, send)
            return
        scope[_MARK] = request
        outer = SCOPE.get()
        SCOPE.set(request)
        try:
            await call(self, scope, receive, _answering(request, send) if kind == "http" else send)
        finally:
            SCOPE.set(outer)
            scope.pop(_MARK, None)
            (tell_partial if request.partial else annotate)(request)
            request.close()

    return served


def spotting(call: App, *, outermost: bool = False) -> App:
    """Wrap a middleware's ``__call__``: contrib's server span is current inside, not outside.

    Parameters
    ----------
    call
        What is wrapped.
    outermost
        Whether the response is over once it returns. Within other middleware, what is outside may
        still be sending.
    """

    @wraps(call)
    async def spotted(self: Any, scope: ASGIScope, receive: Receive, send: Send) -> None:
        request = scope.get(_MARK)
        if type(request) is not Request:
            await call(self, scope, receive, send)
            return
        if request.span is None:
            _spot(request)
        try:
            await call(self, scope, receive, send)
        except BaseException:
            # The span may end before the response to an error starts, which is further out.
            (tell_partial if request.partial else annotate)(request)
            raise
        if request.partial:
            (tell_partial if outermost else annotate)(request)

    return spotted


def flushing(shutdown: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    """Wrap ``uvicorn.Server.shutdown``: afterwards the signal is raised again, without `atexit`."""

    @wraps(shutdown)
    async def flushed(*args: Any, **kwargs: Any) -> None:
        try:
            await shutdown(*args, **kwargs)
        finally:
            await _flush()

    return flushed


def _open(scope: ASGIScope, kind: str) -> Request | None:
    """Open the scope of a request, or return None where that fails. Never raises."""
    try:
        if kind not in {"http", "websocket"}:
            return None
        names, headers = _names(), scope.get("headers") or ()
        client, alias = _first(headers, names.client), _first(headers, names.alias)
        return Request(client, alias, current_server_span(), kind == "websocket")
    except Exception:
        lost()
        return None


def _spot(request: Request) -> None:
    """Have the request know its span, if there is one by now. Never raises."""
    try:
        request.span = current_server_span()
    except Exception:
        return  # of a span of somebody's own: it is not annotated


def _answering(request: Request, send: Send) -> Send:
    """Wrap `send`: ids go on the response when it starts, attributes on the span before it ends."""

    def answer(message: Message) -> Awaitable[None]:
        try:
            starts = message["type"] == "http.response.start"
            if starts or not message.get("more_body", False):
                annotate(request)
            request.partial = starts or bool(message.get("more_body", False))
            if starts:
                request.started = True
                message = _with_ids(message, request)
        except Exception:
            lost()
        return send(message)

    return answer


def _with_ids(message: Message, request: Request) -> Message:
    """Return a copy of a response's start with the prediction ids in its headers."""
    name = _names().response
    if not name or not request.changes:
        return message
    ids = request.told().ids
    if not ids:
        return message
    # The application may keep and reuse its list of headers.
    headers = [*message.get("headers", ()), (name, ",".join(ids).encode("ascii"))]
    return {**message, "headers": headers}


def _flush_when_over(send: Send) -> Send:
    async def over(message: Message) -> None:
        if message.get("type") in {"lifespan.shutdown.complete", "lifespan.shutdown.failed"}:
            await _flush()
        await send(message)

    return over


async def _flush() -> None:
    """Let the pipeline export what is left, in a thread, so that the event loop stays free."""
    if not _scope.in_use():
        return
    try:
        from anyio.to_thread import run_sync

        await run_sync(_shutdown)
    except Exception:
        # No thread can be had, as late in an interpreter's life: wait here instead.
        _shutdown()


def _shutdown() -> None:
    try:
        _scope._sink().shutdown(FLUSH_SECONDS)
    except Exception:
        lost()


class _Names:
    """Names of headers as they are sent, as settings have them."""

    def __init__(self, settings: Settings) -> None:
        capture = settings.capture
        self.settings = settings
        self.client = tuple(map(_encoded, capture.client_headers))
        self.alias = tuple(map(_encoded, capture.request_id_headers))
        self.response = _encoded(capture.response_header)


def _encoded(name: str) -> bytes:
    return name.lower().encode("latin-1")


_latest_names: _Names | None = None


def _names() -> _Names:
    """Return the names that the settings in force have."""
    global _latest_names
    names, settings = _latest_names, _scope.settings()
    if names is None or names.settings is not settings:
        names = _latest_names = _Names(settings)
    return names


def _first(headers: Any, names: tuple[bytes, ...]) -> str | None:
    """Return the value of the first of several headers that is present, shortened."""
    if not names:
        return None
    found = {name: value for name, value in headers if name in names}
    if found:
        for name in names:
            if name in found:
                return str(found[name][:_MAX_HEADER].decode("latin-1"))
    return None
