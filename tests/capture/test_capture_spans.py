"""The server's own span is annotated, whoever makes it; none is added; sampling changes nothing."""

from __future__ import annotations

import asyncio
import contextlib
import warnings
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import numpy as np
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("fastapi")

from fastapi import Body, FastAPI
from fastapi.responses import StreamingResponse
from opentelemetry import trace
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from otel_ml.config import ModelSettings
from otel_ml.semconv import attributes

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # newer versions of Starlette prefer another HTTP client
    from starlette.testclient import TestClient

Rows = Annotated[list[list[float]], Body()]
X = np.random.default_rng(0).normal(size=(60, 2))
Y = (X[:, 0] > 0).astype(int)
MODEL = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, Y)
OTHER = LogisticRegression().fit(X, Y)

NAME, VERSION = attributes.ML_MODEL_NAME, attributes.ML_MODEL_VERSION
ID, COUNT = attributes.ML_PREDICTION_ID, attributes.ML_PREDICTION_COUNT
PARTIAL = attributes.ML_PREDICTION_PARTIAL


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def provider(exporter: InMemorySpanExporter) -> TracerProvider:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider


def native(provider: Any) -> FastAPI:
    if "telemetry" not in FastAPI.__init__.__annotations__:
        pytest.skip("this version of FastAPI has no telemetry of its own")
    return FastAPI(telemetry={"tracer_provider": provider, "metrics": False, "logs": False})


def contrib(provider: Any) -> FastAPI:
    fastapi = pytest.importorskip("opentelemetry.instrumentation.fastapi")
    app = FastAPI()
    fastapi.FastAPIInstrumentor.instrument_app(app, tracer_provider=provider)
    return app


def middleware(provider: Any) -> FastAPI:
    asgi = pytest.importorskip("opentelemetry.instrumentation.asgi")
    app = FastAPI()
    app.add_middleware(asgi.OpenTelemetryMiddleware, tracer_provider=provider)
    return app


def with_routes(app: FastAPI) -> FastAPI:
    @app.post("/predict")
    def predict(rows: Rows) -> list[float]:
        tracer = trace.get_tracer("application")
        with tracer.start_as_current_span("inside"):
            return [float(p[1]) for p in MODEL.predict_proba(np.array(rows))]

    @app.post("/two")
    async def two(rows: Rows) -> list[int]:
        MODEL.predict(rows)
        return [int(value) for value in OTHER.predict(rows)]

    @app.post("/stream")
    def stream(rows: Rows) -> StreamingResponse:
        return StreamingResponse(f"{MODEL.predict([row])[0]}\n" for row in rows)

    @app.post("/breaks")
    def breaks(rows: Rows) -> StreamingResponse:
        def pieces() -> Iterator[str]:
            yield f"{MODEL.predict(rows)[0]}\n"
            raise RuntimeError

        return StreamingResponse(pieces())

    @app.post("/crash")
    def crash(rows: Rows) -> None:
        MODEL.predict(rows)
        raise RuntimeError

    @app.post("/fail")
    def fail(rows: Rows) -> Any:
        return MODEL.predict([[1.0]])

    @app.get("/nothing")
    def nothing() -> str:
        return "nothing"

    return app


@pytest.fixture(params=[native, contrib, middleware], ids=lambda make: make.__name__)
def client(request: pytest.FixtureRequest, provider: TracerProvider, instrumented: Any) -> Any:
    return TestClient(with_routes(request.param(provider)), raise_server_exceptions=False)


def server_span(exporter: InMemorySpanExporter) -> Any:
    spans = exporter.get_finished_spans()
    (server,) = [span for span in spans if span.kind is SpanKind.SERVER]
    for span in spans:
        if span is not server:
            assert not any(key.startswith("ml.") for key in span.attributes or {}), span.name
    return server


def test_the_server_span_is_annotated(
    client: Any, exporter: Any, instrumented: Any, use_settings: Callable[..., Any]
) -> None:
    use_settings(models=(ModelSettings(name="churn", version="3"),))
    answer = client.post("/predict", json=[[1.0, 2.0], [-3.0, 0.0], [0.0, 0.0]])
    (call,) = instrumented.calls
    span = server_span(exporter)
    assert {key: value for key, value in span.attributes.items() if key.startswith("ml.")} == {
        NAME: "churn",
        VERSION: "3",
        ID: answer.headers["x-prediction-id"],
        COUNT: 3,
    }
    assert call.trace_id == span.context.trace_id
    assert call.trace_flags & 1


def test_an_unknown_version_is_left_out(client: Any, exporter: Any) -> None:
    client.post("/predict", json=[[1.0, 2.0]])
    span = server_span(exporter)
    assert span.attributes[NAME] == "LogisticRegression"
    assert VERSION not in span.attributes


def test_several_models(client: Any, exporter: Any, use_settings: Callable[..., Any]) -> None:
    use_settings(
        models=(
            ModelSettings(name="first", version="1", match="Pipeline"),
            ModelSettings(name="second", version="2", match="LogisticRegression"),
        )
    )
    answer = client.post("/two", json=[[1.0, 2.0]])
    span = server_span(exporter)
    assert span.attributes[NAME] == "first,second"
    assert VERSION not in span.attributes
    assert span.attributes[ID] == answer.headers["x-prediction-id"]
    assert span.attributes[COUNT] == 2


def test_predictions_while_streaming_are_on_the_span(client: Any, exporter: Any) -> None:
    assert client.post("/stream", json=[[1.0, 2.0], [-3.0, 0.0]]).text == "1\n0\n"
    span = server_span(exporter)
    assert span.attributes[COUNT] == 2
    assert span.attributes[ID].count(",") == 1
    assert PARTIAL not in span.attributes


@pytest.mark.fault("A7")
def test_an_answer_that_breaks_off_is_told(client: Any, exporter: Any) -> None:
    with contextlib.suppress(RuntimeError):  # however the client puts it
        client.post("/breaks", json=[[1.0, 2.0]])
    span = server_span(exporter)
    assert span.attributes[COUNT] == 1
    assert span.attributes[PARTIAL] is True


def hang_up(app: Any, path: str, body: bytes, *, spec: str) -> None:
    """Send a request whose client is gone after the first piece of the answer.

    Servers of the older specification say so by a message, those of the newer one by an error.
    """

    async def ask() -> None:
        asked, gone = asyncio.Event(), asyncio.Event()

        async def receive() -> dict[str, Any]:
            if not asked.is_set():
                asked.set()
                return {"type": "http.request", "body": body, "more_body": False}
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            if gone.is_set() and spec != "2.0":
                raise OSError("the client is gone")
            if message["type"] == "http.response.body" and message.get("body"):
                gone.set()
            await asyncio.sleep(0.01)

        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": spec},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": [(b"content-type", b"application/json")],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
        }
        with contextlib.suppress(Exception):  # however the server puts it
            await asyncio.wait_for(app(scope, receive, send), 30)

    asyncio.run(ask())


@pytest.mark.fault("A7")
@pytest.mark.parametrize("spec", ["2.0", "2.4"])
def test_a_client_that_hangs_up_is_told(client: Any, exporter: Any, spec: str) -> None:
    hang_up(client.app, "/stream", b"[[1.0, 2.0], [-3.0, 0.0], [1.0, 1.0]]", spec=spec)
    span = server_span(exporter)
    assert span.attributes[COUNT] >= 1
    # a span that ends within other middleware may end before it is known
    ends_within = spec == "2.0" and span.instrumentation_scope.name.endswith("asgi")
    assert span.attributes.get(PARTIAL) is (None if ends_within else True)


@pytest.mark.parametrize(("path", "counted"), [("/crash", 1), ("/fail", None)])
def test_failures(client: Any, exporter: Any, path: str, counted: int | None) -> None:
    assert client.post(path, json=[[1.0, 2.0]]).status_code == 500
    span = server_span(exporter)
    assert span.attributes[NAME] == "LogisticRegression"
    assert span.attributes.get(COUNT) == counted


def test_a_request_without_predictions_is_left_alone(client: Any, exporter: Any) -> None:
    client.get("/nothing")
    assert not any(key.startswith("ml.") for key in server_span(exporter).attributes)


def test_middleware_around_the_application(
    provider: TracerProvider, exporter: Any, instrumented: Any
) -> None:
    asgi = pytest.importorskip("opentelemetry.instrumentation.asgi")

    async def endpoint(request: Any) -> JSONResponse:
        return JSONResponse(MODEL.predict(X[:2]).tolist())

    app = asgi.OpenTelemetryMiddleware(
        Starlette(routes=[Route("/", endpoint)]), tracer_provider=provider
    )
    TestClient(app).get("/")
    assert server_span(exporter).attributes[COUNT] == 2


@pytest.mark.parametrize("make", [native, contrib])
def test_predictions_do_not_depend_on_sampling(make: Any, instrumented: Any) -> None:
    provider = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False)
    client = TestClient(with_routes(make(provider)))
    answer = client.post("/predict", json=[[1.0, 2.0]])
    (call,) = instrumented.calls
    assert call.prediction_id == answer.headers["x-prediction-id"]
    assert call.trace_id != 0
    assert not call.trace_flags & 1


@pytest.mark.parametrize(
    ("kind", "captured"),
    [
        (SpanKind.SERVER, True),
        (SpanKind.CONSUMER, True),
        (SpanKind.INTERNAL, False),
        (SpanKind.CLIENT, False),
    ],
)
def test_a_span_shows_serving_where_no_framework_is_known(
    provider: TracerProvider, instrumented: Any, kind: SpanKind, captured: bool
) -> None:
    with provider.get_tracer("t").start_as_current_span("s", kind=kind) as span:
        MODEL.predict(X)
    if captured:
        (call,) = instrumented.calls
        assert (call.trace_id, call.span_id) == (
            span.get_span_context().trace_id,
            span.get_span_context().span_id,
        )
        assert instrumented.skipped == []
    else:
        assert instrumented.calls == []
        assert instrumented.skipped == [("not_serving", 60)]


def test_an_unsampled_server_span_shows_serving(instrumented: Any) -> None:
    provider = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False)
    with provider.get_tracer("t").start_as_current_span("s", kind=SpanKind.SERVER):
        MODEL.predict(X)
    assert instrumented.methods == ["predict"]


def test_suppressed_instrumentation_is_respected(offline: Any) -> None:
    with suppress_instrumentation():
        MODEL.predict(X)
    assert offline.calls == []
    MODEL.predict(X)
    assert offline.methods == ["predict"]
