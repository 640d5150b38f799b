"""An engine in, plain JSON values out, and back."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from otel_ml.budget import Budget
from otel_ml.errors import OtelMlError, StateError
from otel_ml.incidents import Change
from otel_ml.learning import Learner
from otel_ml.profile import Reference
from otel_ml.types import ModelKey

if TYPE_CHECKING:
    from otel_ml.engine import Engine

__all__ = ["read", "written"]

_FORMAT: Final = "otel-ml/snapshot/2"


def written(engine: Engine) -> dict[str, Any]:
    """Return the whole state of an engine as plain JSON values."""
    last = engine.last_evaluation
    return {
        "format": _FORMAT,
        "model": list(engine.model),
        "rows": engine.rows,
        "budget": [engine.budget.false_incidents, engine.budget.per, engine.budget.rows_per_day],
        "min_effect": engine.min_effect,
        "label_capacity": engine.label_capacity,
        "namespace": engine.namespace,
        "last_evaluation": None if math.isinf(last) else last,
        "reference": None if engine.reference is None else engine.reference.to_json(),
        "learner": None if engine.learner is None else engine.learner.to_json(),
        "state": None if engine.state is None else engine.state.to_json(),
        "changes": [change.to_json() for change in engine.waiting_changes],
    }


def read(snapshot: Mapping[str, Any], make: Callable[..., Engine]) -> Engine:
    """Return an engine that goes on where a snapshot was taken.

    Parameters
    ----------
    snapshot
        What `written` returned.
    make
        Makes an engine of a reference and keyword arguments.

    Raises
    ------
    StateError
        If the snapshot has another format or is damaged.
    """
    if snapshot.get("format") != _FORMAT:
        raise StateError(
            f"snapshot of format {snapshot.get('format')!r}, this version reads {_FORMAT!r}",
            remedy="start without it, or with the otel-ml that wrote it",
        )
    try:
        stated = snapshot["reference"]
        reference = None if stated is None else Reference.from_json(stated, where="snapshot")
        false_incidents, per, rows_per_day = snapshot["budget"]
        engine = make(
            reference,
            budget=Budget(false_incidents, per, rows_per_day),
            min_effect=snapshot["min_effect"],
            label_capacity=snapshot["label_capacity"],
            model=ModelKey(*snapshot["model"]),
            namespace=snapshot["namespace"],
        )
        engine.rows = int(snapshot["rows"])
        last = snapshot["last_evaluation"]
        engine.last_evaluation = -math.inf if last is None else float(last)
        if engine.learner is not None:
            engine.learner = Learner.from_json(engine.model, snapshot["learner"])
        if engine.state is not None:
            engine.state.restore(snapshot["state"])
            index = {(s.monitor, s.target, s.defect): i for i, s in enumerate(engine.state.streams)}
            engine.waiting_changes = [Change.from_json(c, index) for c in snapshot["changes"]]
    except StateError:
        raise
    except (OtelMlError, KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise StateError(
            f"the snapshot is damaged ({type(error).__name__}: {str(error).splitlines()[0]})",
            remedy="start without it",
        ) from error
    return engine
