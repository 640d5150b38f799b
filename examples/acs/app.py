"""Serve the model: in, people as JSON; out, the probability that each has work, and a decision.

MODEL_PATH=model.joblib uvicorn app:app
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import joblib
import numpy as np
from fastapi import Body, FastAPI, HTTPException
from features import COLUMNS
from numpy.typing import NDArray

THRESHOLD = 0.5


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    load(app)
    yield


def load(app: FastAPI) -> None:
    app.state.model = joblib.load(os.environ.get("MODEL_PATH", "model.joblib"))


app = FastAPI(title="Employment", lifespan=lifespan)


def matrix(payload: dict[str, Any]) -> NDArray[np.float64]:
    """Return the rows of a request as numbers in the model's column order; null is missing."""
    rows = payload.get("rows", [payload])
    try:
        values = [[row[name] for name in COLUMNS] for row in rows]
        return np.array(values, dtype=np.float64).reshape(len(rows), len(COLUMNS))
    except KeyError as error:
        raise HTTPException(422, f"column {error} is missing") from None
    except (TypeError, ValueError) as error:
        raise HTTPException(422, f"not rows of numbers: {error}") from None


@app.post("/predict")
def predict(payload: dict[str, Any] = Body()) -> dict[str, Any]:  # noqa: B008
    probabilities = app.state.model.predict_proba(matrix(payload))[:, 1]
    return {
        "probabilities": probabilities.round(6).tolist(),
        "decisions": (probabilities >= THRESHOLD).astype(int).tolist(),
    }


@app.post("/reload")
def reload() -> dict[str, str]:
    """Roll out the model that now stands in the file."""
    load(app)
    return {"status": "reloaded"}


@app.get("/health")
def health() -> dict[str, str]:
    return {"status": "ok"}
