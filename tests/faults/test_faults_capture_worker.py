"""What goes wrong behind the queue stays there; importing does nothing; nothing feeds on itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

import otel_ml
from otel_ml.emit import Receiver
from otel_ml.engine import Engine
from otel_ml.semconv import metrics as m
from otel_ml.testing import MemorySink
from tests.faults.oracles import HANG, faulty
from tests.faults.processes import alone

ERRORS = (SystemExit, MemoryError, RecursionError, KeyboardInterrupt, GeneratorExit, OSError)


def failing(function: Callable[..., Any], error: type[BaseException], at: int) -> Any:
    """Return a function whose call number `at` raises; the others do what they did."""
    calls = 0

    def fails(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == at:
            raise error("of ours")
        return function(*args, **kwargs)

    return fails


# A4


@pytest.mark.fault("A4")
@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("at", [1, 2, 3])
@pytest.mark.parametrize(
    ("owner", "name"),
    [(Engine, "observe"), (Engine, "evaluate"), (MemorySink, "export")],
)
def test_whatever_fails_in_the_worker_later_predictions_are_counted(
    monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, at: int, error: Any
) -> None:
    monkeypatch.setattr(owner, name, failing(getattr(owner, name), error, at))
    with faulty(said=rf"{error.__name__}") as trial:
        for i in range(5):
            trial.observe(2, features=[[float(i)], [1.0]], scores=[0.5, 0.5])
            trial.pipeline.flush(HANG)
        assert trial.sink.value(m.ML_PREDICTIONS, ml_model_name="m") == 10


@pytest.mark.fault("A4")
@pytest.mark.parametrize("error", ERRORS)
def test_a_worker_that_dies_is_started_again_and_that_is_counted(
    monkeypatch: pytest.MonkeyPatch, error: Any
) -> None:
    with faulty(restarts=1, said="failed and is started again") as trial:
        trial.books()
        worker: Any = trial.pipeline._worker
        monkeypatch.setattr(worker, "take", failing(worker.take, error, 1))
        for _ in range(5):
            trial.observe(2, features=[[1.0], [2.0]])
        trial.books()
        assert trial.sink.value(m.ML_MONITORING_WORKER_RESTARTS) == 1


# A10


@pytest.mark.fault("A10")
@pytest.mark.parametrize(
    "what",
    [
        "import otel_ml",
        "import otel_ml; [getattr(otel_ml, name) for name in otel_ml.__all__]",
        "from otel_ml.capture import MLInstrumentor; MLInstrumentor().instrument()",
        "import otel_ml.pipeline, otel_ml.engine, otel_ml.emit, otel_ml.config, otel_ml.testing",
        "import sklearn.linear_model; from otel_ml.capture import MLInstrumentor as I;"
        " I().instrument()",
    ],
)
def test_importing_starts_and_opens_nothing(what: str) -> None:
    """No thread, socket, file or handler of a signal, and nothing is written on the way out."""
    done = alone(
        f"""
import gc, json, logging, os, signal, sys, threading
if "sklearn" in {what!r}:
    import sklearn.linear_model  # what it opens by itself is its own
def there():
    files = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            files.add(os.readlink("/proc/self/fd/" + name))
        except OSError:
            pass
    signals = [n for n in sorted(signal.valid_signals()) if n not in (9, 19)]
    handlers = [repr(signal.getsignal(n)) for n in signals]
    return [sorted(files), [t.name for t in threading.enumerate()], handlers, os.listdir("."),
            [repr(h) for h in logging.getLogger().handlers], sys.excepthook is sys.__excepthook__,
            threading.excepthook is threading.__excepthook__]
before = there()
{what}
after = there()
print(json.dumps(before) == json.dumps(after) or [before, after])
"""
    )
    assert (done.code, done.out, done.err) == (0, "True\n", "")


# A11


@pytest.mark.fault("A11")
def test_an_applications_own_providers_and_handlers_are_left_alone() -> None:
    """A handler at DEBUG that makes a prediction of each record would never come to rest."""
    with Receiver() as receiver:
        done = alone(
            """
import json, logging, sys
from opentelemetry import metrics, trace, _logs
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk._logs import LoggerProvider
import otel_ml
from otel_ml.capture import MLInstrumentor
MLInstrumentor().instrument()
reader = InMemoryMetricReader()
own = [MeterProvider([reader]), TracerProvider(), LoggerProvider()]
metrics.set_meter_provider(own[0])
trace.set_tracer_provider(own[1])
_logs.set_logger_provider(own[2])

records = []
class Predicting(logging.Handler):
    def emit(self, record):
        records.append(record.name)
        otel_ml.observe(model="log", features={"length": [len(record.getMessage())]})
logging.basicConfig(level=logging.DEBUG, handlers=[Predicting(logging.DEBUG)])

for i in range(20):
    otel_ml.observe(model="m", features={"x": [0.5]}, scores=[0.5])
    assert otel_ml.flush(30)
assert otel_ml.shutdown(30)
found = [metrics.get_meter_provider(), trace.get_tracer_provider(), _logs.get_logger_provider()]
print(json.dumps({
    "own": [a is b for a, b in zip(own, found)],
    "points": str(reader.get_metrics_data()).count("ml."),
    "handlers": [type(h).__name__ for h in logging.getLogger().handlers],
    "records": len(records),
    "ours": sum(name.startswith("otel_ml") for name in records),
}))
""",
            environ={
                "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
                "OTEL_METRIC_EXPORT_INTERVAL": "600000",
            },
        )
        assert done.code == 0, done.err
        told = json.loads(done.out)
        assert told["own"] == [True] * 3
        assert told["points"] == 0, "nothing of ours goes through the application's providers"
        assert told["handlers"] == ["Predicting"]
        assert told["ours"] == 0, "nothing is wrong, so nothing is said"
        assert told["records"] < 20 * 20, "an export makes records, and these no further exports"
        assert receiver.total("ml.predictions", ml_model_name="m") == 20
        assert receiver.total("ml.monitoring.dropped") == 0


@pytest.mark.fault("A11", "A1")
def test_a_handler_that_reports_our_own_messages_does_not_feed_them() -> None:
    """The message about a loss causes a loss, which was said already: it ends there."""
    import logging

    class Reporting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            otel_ml.observe(model="log", features=record)

    handler = Reporting()
    logging.getLogger("otel_ml").addHandler(handler)
    try:
        with faulty(loss="invalid_input", given=None, said=r"lost \(invalid_input") as trial:
            trial.call(otel_ml.observe, model="m", features=object())
            for _ in range(10):
                trial.books()
            assert trial.books().lost < 10
    finally:
        logging.getLogger("otel_ml").removeHandler(handler)
