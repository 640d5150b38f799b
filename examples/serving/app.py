"""A plain prediction service: a scikit-learn model behind FastAPI, without a line of monitoring."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import joblib
import numpy as np
from fastapi import Body, FastAPI

app = FastAPI(title="Tumour classification")
model = joblib.load(os.environ.get("MODEL_PATH", Path(__file__).with_name("tumour.joblib")))

Rows = Annotated[list[list[float]], Body(min_length=1)]


def answer(rows: list[list[float]]) -> dict[str, Any]:
    """Predict class and probability of each row."""
    features = np.array(rows)
    return {
        "predictions": model.predict(features).tolist(),
        "probabilities": model.predict_proba(features)[:, 1].tolist(),
    }


@app.post("/predict")
def predict(rows: Rows) -> dict[str, Any]:
    """Predict in a thread, as FastAPI runs functions."""
    return answer(rows)


@app.post("/predict/async")
async def predict_async(rows: Rows) -> dict[str, Any]:
    """Predict on the event loop."""
    return answer(rows)


@app.get("/health")
def health() -> str:
    """Say that the service is up."""
    return "ok"
