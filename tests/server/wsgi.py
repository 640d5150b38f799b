"""Requests of a WSGI server in, predictions of the example's model out; one can be kept waiting.

The server's span is that of OpenTelemetry's middleware: it is what tells otel-ml that a prediction
is served.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from opentelemetry import trace
from opentelemetry.instrumentation.wsgi import OpenTelemetryMiddleware
from opentelemetry.sdk.trace import TracerProvider

from otel_ml.capture import MLInstrumentor

if not isinstance(trace.get_tracer_provider(), TracerProvider):  # not by opentelemetry-instrument
    trace.set_tracer_provider(TracerProvider())
    MLInstrumentor().instrument()

model = joblib.load(Path(__file__).with_name("tumour.joblib"))


def serve(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Predict; `/predict/held` answers once the file ``go`` is there."""
    body: Any = "ok"
    path = environ["PATH_INFO"]
    if path.startswith("/predict"):
        rows = json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
        features = np.array(rows)
        body = {"predictions": model.predict(features).tolist(), "pid": os.getpid()}
    if path == "/predict/held":
        here = Path(__file__).parent
        (here / "held").touch()
        while not (here / "go").exists():
            time.sleep(0.01)
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(body).encode()]


app = OpenTelemetryMiddleware(serve)
