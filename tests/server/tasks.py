"""Tasks of a Celery worker in, predictions of the example's model out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from celery import Celery

from otel_ml.capture import MLInstrumentor

MLInstrumentor().instrument()
HERE = Path(__file__).parent
model = joblib.load(HERE / "tumour.joblib")
queues = HERE / "queues"
app = Celery("tasks", broker="filesystem://", backend=f"file://{HERE / 'results'}")
app.conf.broker_transport_options = {
    "data_folder_in": str(queues),
    "data_folder_out": str(queues),
    "control_folder": str(queues / "control"),
}
app.conf.worker_prefetch_multiplier = 1


@app.task  # type: ignore[untyped-decorator]  # Celery has no types
def predict(rows: list[list[float]]) -> dict[str, Any]:
    """Predict, and tell in which process."""
    return {"predictions": model.predict(np.array(rows)).tolist(), "pid": os.getpid()}
