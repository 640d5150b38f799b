"""The demo's fault in the labels, without server and clock: its name must not hang on the pace."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import joblib
import numpy as np
import pytest

from otel_ml.demo import workspace
from otel_ml.demo.data import COLUMNS, example_folder, read_people
from otel_ml.demo.faults import TOTAL_ROWS, phases
from otel_ml.demo.reference import SENSITIVE, prepare_reference
from otel_ml.engine import Budget, Engine
from otel_ml.profile import Reference
from otel_ml.testing import ManualClock
from otel_ml.types import FloatArray, IntArray

pytestmark = pytest.mark.slow

_FIRST, _LAST = 15_000, 21_000
_DELAY = 600
_CHUNKS = (50, 100, 300, 500, 1000, 2000)
_EVALUATIONS = (50, 100, 250, 500, 1000)


@dataclass(frozen=True)
class _Site:
    reference: Reference
    model: Any


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> _Site:
    paths = workspace.Paths(tmp_path_factory.mktemp("pace"))
    paths.prepare()
    workspace.train(paths, 0)
    prepare_reference(paths.training, paths.reference)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(example_folder()))  # the model names its module
        return _Site(Reference.load(paths.reference), joblib.load(paths.model))


def _rows(seed: int) -> tuple[FloatArray, IntArray]:
    """Return rows and labels around the fault, as the demo's replay sends them."""
    people = read_people(example_folder(), rows=TOTAL_ROWS, seed=seed)
    features, labels = people.features.copy(), people.labels.copy()
    for number, (start, end, fault) in enumerate(phases(TOTAL_ROWS)):
        if fault is not None:
            rng = np.random.default_rng((seed, number))
            held = features[start:end]
            labels[start:end] = fault.mislabel(held, labels[start:end], rng)
            features[start:end] = fault.corrupt(held, rng)
    return features[_FIRST:_LAST], labels[_FIRST:_LAST]


@pytest.mark.parametrize("pace", [None, *range(12)])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_women_are_named_at_any_pace(site: _Site, seed: int, pace: int | None) -> None:
    """Rows, evaluations and labels come evenly, or as a machine with other work has them."""
    features, labels = _rows(seed)
    scores = site.model.predict_proba(features)[:, 1]
    rng = np.random.default_rng(pace)
    clock = ManualClock()
    budget = Budget(1, per="100000rows")
    engine = Engine(site.reference, budget=budget, clock=clock, min_effect=workspace.MIN_EFFECT)
    named: dict[str, tuple[str, str]] = {}
    at = given = 0
    while at < len(features):
        size = 50 if pace is None else int(rng.choice(_CHUNKS))
        engine.evaluation_rows = 50 if pace is None else int(rng.choice(_EVALUATIONS))
        part = slice(at, min(at + size, len(features)))
        engine.observe(
            {name: features[part, i] for i, name in enumerate(COLUMNS)},
            scores=scores[part],
            predictions=(scores[part] >= 0.5).astype(np.int64),
            ids=[str(i) for i in range(part.start, part.stop)],
            slices={
                name: features[part, COLUMNS.index(name)].astype(int).astype(str).astype(object)
                for name in SENSITIVE
            },
        )
        at = part.stop
        late = _DELAY + (0 if pace is None else int(rng.integers(600)))
        while given < at - late:
            few = at - late if pace is None else min(at - late, given + int(rng.integers(1, 400)))
            engine.observe_labels([str(i) for i in range(given, few)], labels[given:few].tolist())
            given = few
        clock.advance(size / 350)
        for change in engine.evaluate():
            incident = change.incident
            named[incident.id] = incident.cause, incident.culprit.target
    assert list(named.values()) == [("subgroup_performance_drop", "SEX=2")]
