"""Requests through real FastAPI and Starlette applications: scopes, ids, callers, endings."""

from __future__ import annotations

import asyncio
import threading
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Annotated, Any

import numpy as np
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("fastapi")
pytest.importorskip("httpx")

import httpx
from fastapi import BackgroundTasks, Body, FastAPI, WebSocket
from fastapi.responses import StreamingResponse
from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from otel_ml.capture import MLInstrumentor, _scope, _told

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # newer versions of Starlette prefer another HTTP client
    from starlette.testclient import TestClient

X = np.random.default_rng(0).normal(size=(60, 2))
Y = (X[:, 0] > 0).astype(int)
MODEL = LogisticRegression().fit(X, Y)
Rows = Annotated[list[list[float]], Body()]
POOL = ThreadPoolExecutor(2)

app = FastAPI()
inner = FastAPI()
app.mount("/inner", inner)


@app.post("/predict")
def predict(rows: Rows) -> list[int]:
    return [int(value) for value in MODEL.predict(rows)]


@app.post("/both")
async def both(rows: Rows) -> list[float]:
    array = np.array(rows)
    MODEL.predict(array)
    await asyncio.sleep(0)
    return [float(p[1]) for p in MODEL.predict_proba(array)]


@app.post("/slow/{times}")
async def slow(times: int, rows: Rows) -> list[int]:
    out = []
    for _ in range(times):
        out += [int(value) for value in MODEL.predict(rows)]
        await asyncio.sleep(0.001)
    return out


@app.post("/executor")
async def executor(rows: Rows) -> list[int]:
    loop = asyncio.get_running_loop()
    first = await loop.run_in_executor(None, MODEL.predict, rows)
    second = await loop.run_in_executor(POOL, MODEL.predict, rows)
    third = await asyncio.to_thread(MODEL.predict, rows)
    return [int(value) for value in [*first, *second, *third]]


@app.post("/fails")
def fails(rows: Rows) -> Any:
    return MODEL.predict([[*row, 1.0] for row in rows])


@app.post("/crashes")
def crashes(rows: Rows) -> Any:
    MODEL.predict(rows)
    raise RuntimeError("of the application")


@app.post("/stream")
def stream(rows: Rows) -> StreamingResponse:
    MODEL.predict(rows)

    def parts() -> Iterator[str]:
        for row in rows:
            yield f"{MODEL.predict([row])[0]}\n"

    return StreamingResponse(parts(), media_type="text/plain")


@app.post("/later")
def later(tasks: BackgroundTasks, rows: Rows) -> str:
    tasks.add_task(MODEL.predict, rows)
    return "later"


@app.get("/nothing")
def nothing() -> str:
    return "nothing"


@app.get("/reusing")
async def reusing() -> Response:
    MODEL.predict(X[:1])
    return REUSED


@app.post("/around")
async def around(rows: Rows) -> str:
    """Call this application again from within a request."""
    MODEL.predict(rows)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app=app), base_url="http://test"
    ) as client:
        answer = await client.post("/predict", json=rows, headers={"x-request-id": "inner"})
    MODEL.predict_proba(rows)
    return str(answer.headers["x-prediction-id"])


@app.websocket("/socket")
async def socket(websocket: WebSocket) -> None:
    await websocket.accept()
    for _ in range(2):
        rows = np.array(await websocket.receive_json())
        MODEL.predict(rows)
        MODEL.predict_proba(rows)
        await websocket.send_json("done")
    await websocket.close()


@inner.post("/predict")
def inner_predict(rows: Rows) -> list[int]:
    return [int(value) for value in MODEL.predict(rows)]


REUSED = JSONResponse("again")


@pytest.fixture
def client(instrumented: Any) -> TestClient:
    # Not entered: the lifespan has tests of its own.
    return TestClient(app, raise_server_exceptions=False)


def test_a_prediction_is_captured_and_its_id_returned(client: Any, instrumented: Any) -> None:
    answer = client.post("/predict", json=[[1.0, 2.0], [-1.0, 0.0]])
    assert answer.json() == [1, 0]
    (call,) = instrumented.calls
    assert call.model is MODEL
    assert (call.method, call.features) == ("predict", [[1.0, 2.0], [-1.0, 0.0]])
    assert answer.headers["x-prediction-id"] == call.prediction_id
    assert len(call.prediction_id) == 32
    assert (call.client, call.alias, call.error) == (None, None, None)
    assert call.duration_ns > 0


def test_without_a_prediction_there_is_no_header(client: Any, instrumented: Any) -> None:
    assert "x-prediction-id" not in client.get("/nothing").headers
    assert instrumented.calls == []


def test_two_methods_on_one_input_are_one_prediction(client: Any, instrumented: Any) -> None:
    answer = client.post("/both", json=[[1.0, 2.0]])
    (call,) = instrumented.calls
    assert call.method == "predict"
    assert set(call.outputs) == {"decision_function", "predict_proba"}
    assert call.outputs["predict_proba"][0][1] == answer.json()[0]
    assert answer.headers["x-prediction-id"] == call.prediction_id


def test_repeated_calls_are_several_predictions(client: Any, instrumented: Any) -> None:
    answer = client.post("/slow/3", json=[[1.0, 2.0]])
    ids = [call.prediction_id for call in instrumented.calls]
    assert len(set(ids)) == 3
    assert ids == sorted(ids) or len({i[:12] for i in ids}) < 3
    assert answer.headers["x-prediction-id"] == ",".join(ids)


def test_more_calls_than_a_request_holds_are_all_passed_on(client: Any, instrumented: Any) -> None:
    answer = client.post("/slow/150", json=[[1.0, 2.0]])
    assert len(instrumented.calls) == 150
    ids = {call.prediction_id for call in instrumented.calls}
    assert ids - {None} == set(answer.headers["x-prediction-id"].split(","))
    assert answer.headers["x-prediction-id"].count(",") == _told.NAMED - 1


def test_callers(client: Any, instrumented: Any, use_settings: Callable[..., Any]) -> None:
    use_settings({"client_headers": ("X-API-Key", "authorization")})
    client.post("/predict", json=[[1.0, 2.0]], headers={"authorization": "b", "x-api-key": "a"})
    client.post("/predict", json=[[1.0, 2.0]], headers={"authorization": "b", "X-Request-ID": "r"})
    client.post("/predict", json=[[1.0, 2.0]], headers={"x-api-key": "k" * 5000})
    first, second, third = instrumented.calls
    assert (first.client, first.alias) == ("a", None)
    assert (second.client, second.alias) == ("b", "r")
    assert third.client == "k" * 256


@pytest.mark.parametrize(("header", "expected"), [("", False), ("X-My-Id", True)])
def test_the_header_has_the_configured_name(
    client: Any, use_settings: Callable[..., Any], header: str, expected: bool
) -> None:
    use_settings({"response_header": header})
    headers = client.post("/predict", json=[[1.0, 2.0]]).headers
    assert "x-prediction-id" not in headers
    assert ("x-my-id" in headers) is expected


@pytest.mark.parametrize("path", ["/executor"])
def test_thread_pools_take_the_request_along(client: Any, instrumented: Any, path: str) -> None:
    answer = client.post(path, json=[[1.0, 2.0]], headers={"x-request-id": "r"})
    assert [call.alias for call in instrumented.calls] == ["r"] * 3
    assert answer.headers["x-prediction-id"].count(",") == 2
    assert instrumented.skipped == []


def test_a_failing_call_is_captured_and_the_application_answers_as_before(
    client: Any, instrumented: Any
) -> None:
    answer = client.post("/fails", json=[[1.0, 2.0]])
    assert answer.status_code == 500
    (call,) = instrumented.calls
    assert (call.error, call.output) == ("ValueError", None)
    assert "x-prediction-id" not in answer.headers
    with pytest.raises(ValueError, match="3 features"):
        TestClient(app).post("/fails", json=[[1.0, 2.0]])


def test_a_prediction_before_a_crash_is_kept(client: Any, instrumented: Any) -> None:
    answer = client.post("/crashes", json=[[1.0, 2.0]])
    assert answer.status_code == 500
    assert answer.headers["x-prediction-id"] == instrumented.calls[0].prediction_id


@pytest.mark.fault("A7")
def test_streaming(client: Any, instrumented: Any) -> None:
    answer = client.post("/stream", json=[[1.0, 2.0], [-1.0, 0.0], [2.0, 0.0]])
    assert answer.text == "1\n0\n1\n"
    assert len(instrumented.calls) == 4
    assert answer.headers["x-prediction-id"] == instrumented.calls[0].prediction_id


def test_background_tasks_are_not_lost(client: Any, instrumented: Any) -> None:
    answer = client.post("/later", json=[[1.0, 2.0]], headers={"x-request-id": "r"})
    assert "x-prediction-id" not in answer.headers
    assert [call.alias for call in instrumented.calls] == ["r"]


def test_mounted_applications_share_the_request(client: Any, instrumented: Any) -> None:
    answer = client.post("/inner/predict", json=[[1.0, 2.0]], headers={"x-request-id": "r"})
    (call,) = instrumented.calls
    assert answer.headers["x-prediction-id"] == call.prediction_id
    assert call.alias == "r"


def test_a_request_within_a_request_has_a_scope_of_its_own(client: Any, instrumented: Any) -> None:
    answer = client.post("/around", json=[[1.0, 2.0]], headers={"x-request-id": "outer"})
    nested, first = instrumented.calls
    assert (nested.alias, first.alias) == ("inner", "outer")
    assert answer.json() == nested.prediction_id
    assert answer.headers["x-prediction-id"] == first.prediction_id
    assert set(first.outputs) >= {"predict_proba"}


def test_a_reused_response_does_not_collect_headers(client: Any, instrumented: Any) -> None:
    for _ in range(2):
        answer = client.get("/reusing")
        assert answer.headers["x-prediction-id"] == instrumented.calls[-1].prediction_id
    assert [name for name, _ in REUSED.raw_headers].count(b"x-prediction-id") == 0


def test_websockets_serve_too(client: Any, instrumented: Any) -> None:
    with client.websocket_connect("/socket", headers={"x-request-id": "r"}) as connection:
        connection.send_json([[1.0, 2.0]])
        assert connection.receive_json() == "done"
        connection.send_json([[-1.0, 2.0]])
        assert connection.receive_json() == "done"
    assert [(call.method, call.alias) for call in instrumented.calls] == [("predict", "r")] * 2
    assert all("predict_proba" in call.outputs for call in instrumented.calls)


@pytest.mark.fault("A9")
def test_concurrent_requests_do_not_mix(instrumented: Any) -> None:
    async def many() -> list[Any]:
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app=app), base_url="http://test"
        ) as client:
            return await asyncio.gather(
                *(
                    client.post(
                        ("/slow/4", "/executor", "/predict")[i % 3],
                        json=[[float(i), 1.0]],
                        headers={"x-request-id": str(i)},
                    )
                    for i in range(60)
                )
            )

    answers = asyncio.run(many())
    by_alias: dict[str, list[Any]] = {}
    for call in instrumented.calls:
        by_alias.setdefault(call.alias, []).append(call)
    assert len(by_alias) == 60
    for i, answer in enumerate(answers):
        calls = by_alias[str(i)]
        assert len(calls) == (4, 3, 1)[i % 3]
        assert all(call.features == [[float(i), 1.0]] for call in calls)
        assert answer.headers["x-prediction-id"].split(",") == [c.prediction_id for c in calls]


@pytest.mark.fault("A6")
def test_a_cancelled_request_keeps_its_predictions(instrumented: Any) -> None:
    reached = threading.Event()

    async def endless(request: Any) -> Response:
        MODEL.predict(X[:1])
        reached.set()
        await asyncio.sleep(3600)
        return Response()

    async def scenario() -> None:
        application = Starlette(routes=[Route("/", endless)])
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app=application), base_url="http://test"
        ) as client:
            task = asyncio.create_task(client.get("/"))
            while not reached.is_set():
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(scenario())
    assert instrumented.methods == ["predict"]


@pytest.mark.fault("A7")
def test_a_thread_that_outlives_its_request_is_not_lost(instrumented: Any) -> None:
    go = threading.Event()
    futures = []

    def work() -> Any:
        go.wait(30)
        return MODEL.predict(X[:1])

    async def start(request: Any) -> Response:
        futures.append(POOL.submit(work))
        return Response()

    answer = TestClient(Starlette(routes=[Route("/", start)])).get(
        "/", headers={"x-request-id": "r"}
    )
    assert answer.status_code == 200
    assert instrumented.calls == []
    go.set()
    futures[0].result(30)
    assert [call.alias for call in instrumented.calls] == ["r"]


def test_threads_inside_a_model_do_not_emit(client: Any, instrumented: Any) -> None:
    class Threaded(BaseEstimator):  # type: ignore[misc]  # sklearn is untyped
        def predict(self, X: Any) -> Any:
            return list(POOL.map(MODEL.predict, [X, X]))

    async def endpoint(request: Any) -> Response:
        Threaded().predict(X[:1])
        return Response()

    TestClient(Starlette(routes=[Route("/", endpoint)])).get("/")
    assert [type(call.model).__name__ for call in instrumented.calls] == ["Threaded"]
    assert instrumented.skipped == []


@asynccontextmanager
async def _lifespan(app: Any) -> AsyncIterator[None]:
    yield
    MODEL.predict(X[:1])


def test_the_end_of_the_lifespan_flushes_once(instrumented: Any) -> None:
    application = Starlette(routes=[Mount("/app", app)], lifespan=_lifespan)
    with TestClient(application) as client:
        client.post("/app/predict", json=[[1.0, 2.0]])
        assert instrumented.shutdowns == 0
    assert instrumented.shutdowns == 1
    with TestClient(FastAPI()):
        pass
    assert instrumented.shutdowns == 2


def test_a_failing_flush_does_not_fail_the_application(
    instrumented: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(timeout: float) -> bool:
        raise RuntimeError("of ours")

    monkeypatch.setattr(instrumented, "shutdown", fail)
    with TestClient(FastAPI()):
        pass
    assert instrumented.skipped == [("invalid_input", 1)]


def test_broken_settings_do_not_fail_a_request(
    client: Any, instrumented: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> Any:
        raise RuntimeError("of ours")

    monkeypatch.setattr(_scope, "_active", fail)
    assert client.post("/predict", json=[[1.0, 2.0]]).json() == [1]
    assert {reason for reason, _ in instrumented.skipped} == {"invalid_input"}


@pytest.mark.fault("A8")
def test_uninstrument_restores_the_framework(instrumented: Any) -> None:
    import concurrent.futures.thread as pool

    import uvicorn.server
    from starlette.middleware.errors import ServerErrorMiddleware
    from starlette.middleware.exceptions import ExceptionMiddleware

    places: list[tuple[Any, str]] = [
        (Starlette, "__call__"),
        (ServerErrorMiddleware, "__call__"),
        (ExceptionMiddleware, "__call__"),
        (uvicorn.server.Server, "shutdown"),
        (pool.ThreadPoolExecutor, "submit"),
    ]
    wrapped = [vars(owner)[name] for owner, name in places]
    MLInstrumentor().uninstrument()
    plain = [vars(owner)[name] for owner, name in places]
    assert [w.__wrapped__ for w in wrapped] == plain
    assert not any(hasattr(function, "__wrapped__") for function in plain)
    client = TestClient(app)
    assert "x-prediction-id" not in client.post("/predict", json=[[1.0, 2.0]]).headers
    assert instrumented.calls == []
