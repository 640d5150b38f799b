"""Run under ``opentelemetry-instrument``: a FastAPI service with a linear model of 23 features.

Says its port on its first line of output. For every line of input it answers when all it did for
its requests so far is done. The end of its input ends it.
"""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import sys
import threading
import time
from typing import Any, Final

import numpy as np
import uvicorn
from fastapi import FastAPI
from numpy.typing import NDArray
from opentelemetry import trace
from sklearn.linear_model import LogisticRegression

__all__ = ["FEATURES", "MODEL", "PATH", "WHEN_TOLD", "data"]

FEATURES: Final = 23
ROWS: Final = 20_000
MODEL: Final = "LogisticRegression"
PATH: Final = "/predict"
PATIENCE: Final = 300.0  # seconds: time is long under valgrind
WHEN_TOLD: Final = "LOOK_WHEN_TOLD"
"""Variable: if set, the worker looks at its queue when it is told to, as no clock's pace is right
where time is a hundred times longer."""

_HOUR: Final = 3600.0

_predicted = 0
_looks = 0


def data(n: int, seed: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return features, shape ``(n, 23)``, and classes."""
    rng = np.random.default_rng(seed)
    mixed = rng.normal(size=(n, 5)) @ np.random.default_rng(0).normal(size=(5, FEATURES))
    features = mixed + 2 * rng.normal(size=mixed.shape)
    return features, (features[:, 0] + features[:, 1] + rng.normal(size=n) > 0).astype(np.int64)


def trained() -> LogisticRegression:
    """Return the model."""
    return LogisticRegression().fit(*data(ROWS, 0))


def application(model: LogisticRegression) -> FastAPI:
    """Return the service."""
    app = FastAPI()

    @app.post(PATH)
    async def predict(rows: list[list[float]]) -> dict[str, Any]:
        global _predicted
        _predicted += len(rows)
        return {"probabilities": model.predict_proba(np.array(rows))[:, 1].tolist()}

    return app


def settled() -> None:
    """Wait until spans are encoded and, where it watches, otel-ml has done its work."""
    flush = getattr(trace.get_tracer_provider(), "force_flush", None)
    if flush is not None:
        flush()
    if "otel_ml.pipeline" in sys.modules and _predicted:
        from benchmarks.cost.serving import counted
        from otel_ml import pipeline

        told = WHEN_TOLD in os.environ
        before, until = _looks, time.monotonic() + PATIENCE
        if told:
            pipeline.current()._wake.ring()
        while counted() < _predicted or (told and _looks <= before):
            if time.monotonic() > until:
                raise TimeoutError("the worker has not done what it was given")
            time.sleep(0.25)


def look_when_told() -> None:
    """Have the worker look at its queue when it is told to, and count how often it has."""
    from otel_ml import buffer, worker

    buffer._PAUSE = _HOUR  # type: ignore[misc]  # constants of the product
    worker.EXPORT_TIMEOUT = _HOUR  # type: ignore[misc]
    take = worker.Worker.take

    def counted_take(*arguments: Any, **options: Any) -> None:
        global _looks
        take(*arguments, **options)
        _looks += 1

    worker.Worker.take = counted_take  # type: ignore[method-assign]


def main() -> None:
    if WHEN_TOLD in os.environ and "otel_ml.capture" in sys.modules:
        look_when_told()
    # asyncio turns off Nagle's delays of sockets that say what they are, only
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.bind(("127.0.0.1", 0))
    listening.listen()
    config = uvicorn.Config(application(trained()), log_level="warning", timeout_keep_alive=600)
    server = uvicorn.Server(config)

    def listen() -> None:
        try:
            print(listening.getsockname()[1], flush=True)
            for line in sys.stdin:
                settled()
                if line.strip() == "freeze":  # as in other rows, what is there stays as it is
                    gc.collect()
                    gc.freeze()
                print("settled", flush=True)
        finally:
            server.should_exit = True

    threading.Thread(target=listen, daemon=True).start()
    asyncio.run(server.serve([listening]))


if __name__ == "__main__":
    main()
