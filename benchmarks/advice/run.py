"""One fault, data set and seed in, what the incident said about it out."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from functools import cache
from typing import Any, Final

import numpy as np

from benchmarks.advice.faults import KINDS, Fault, Traffic
from benchmarks.advice.worlds import TRAINING, WORLDS, World
from otel_ml.budget import Budget
from otel_ml.engine import Engine
from otel_ml.incidents import Incident
from otel_ml.incidents.explain import Rollout, Since, explain
from otel_ml.incidents.harm import rank_members
from otel_ml.incidents.whom import RecentRows, for_whom
from otel_ml.profile import Reference
from otel_ml.profile.coder import encode
from otel_ml.types import Batch, FloatArray

CLEAN: Final = 2_500
LATEST: Final = 4_000  # rows after the change by which an incident must have opened
READ: Final = 400  # rows after its opening at which it is read
CHUNK: Final = 100
CLIENTS: Final = np.array([f"c{i}" for i in range(6)], dtype=object)
SHARES: Final = (0.3, 0.25, 0.2, 0.1, 0.1, 0.05)


class Still:
    """A clock that stands still: the engine evaluates by rows."""

    def time(self) -> float:
        """Return zero."""
        return 0.0

    def monotonic(self) -> float:
        """Return zero."""
        return 0.0


@dataclass
class Record:
    """What became of one run.

    Parameters
    ----------
    world, kind, seed
        Which run.
    found
        Whether an incident opened in time, and none before.
    early
        Whether one opened before the fault.
    delay
        Rows from the fault to the incident.
    opening, causes
        Ids of the causes at the opening and after `READ` more rows, the likeliest first.
    place
        Place of the injected cause among the latter, from 1; 0 where it is not named.
    culprit, target_right
        First member, and whether it is one of the features concerned.
    whom, whom_right
        Slice named, and whether that was right: the client, or none.
    """

    world: str
    kind: str
    seed: int
    found: bool = False
    early: bool = False
    delay: int = LATEST
    opening: list[str] = field(default_factory=list)
    causes: list[str] = field(default_factory=list)
    place: int = 0
    culprit: str = ""
    target_right: bool = False
    whom: str = ""
    whom_right: bool = True

    def to_json(self) -> dict[str, Any]:
        """Return the record as plain JSON values."""
        return asdict(self)


@cache
def reference_of(name: str) -> Reference:
    """Return the reference of a data set: half of its pool, and none of it in the traffic."""
    world = WORLDS[name]()
    rows = np.arange(TRAINING, world.n // 2)
    columns = world.take(rows)
    scores = world.predict(columns)
    return Reference.build(
        columns,
        scores=scores,
        predictions=(scores >= 0.5).astype(np.int64),
        labels=world.labels[rows],
        categorical=world.categorical,
        numeric=world.numeric,
        sensitive=(world.sensitive,),
        model_name=name,
        task="binary",
        predict=world.predict,
    )


class Service:
    """A model that is served, with an engine beside it.

    Parameters
    ----------
    world
        Data and model.
    fault
        What goes wrong, from row `CLEAN` on.
    rng
        Randomness of the traffic.
    """

    def __init__(self, world: World, fault: Fault, rng: np.random.Generator) -> None:
        self.world, self.fault, self.rng = world, fault, rng
        self.reference = reference_of(world.name)
        self.engine = Engine(
            self.reference, budget=Budget(1, per="100000rows"), clock=Still(), min_effect=0.02
        )
        self.recent = RecentRows(self.reference.layout)
        first = world.n // 2
        self.pool = np.arange(first, world.n)
        weights = None if fault.weights is None else fault.weights[first:]
        self.weights = None if weights is None else weights / weights.sum()

    def serve(self, broken: bool) -> list[Incident]:
        """Serve `CHUNK` rows with their labels; return the incidents opened by them."""
        rng, engine, row = self.rng, self.engine, self.engine.rows
        drawn = rng.choice(self.pool, CHUNK, p=self.weights if broken else None)
        traffic = Traffic(
            self.world.take(drawn), self.world.labels[drawn], rng.choice(CLIENTS, CHUNK, p=SHARES)
        )
        if broken:
            self.fault.change(traffic, rng)
        odds = _logit(self.world.predict(traffic.columns)) + traffic.shift
        scores = 1 / (1 + np.exp(-odds))
        predictions = (scores >= traffic.threshold).astype(np.int64)
        ids = [f"{row + i}" for i in range(CHUNK)]
        calls = CHUNK // 5
        batch = Batch(
            CHUNK,
            traffic.columns,
            predictions=predictions,
            scores=scores,
            ids=ids,
            clients=traffic.clients.tolist(),
            durations=0.02 * np.exp(rng.normal(0, 0.4, calls)) * traffic.slow,
            sizes=np.full(calls, 5, dtype=np.int64),
            errors=("ValueError",) * int(rng.binomial(calls, traffic.failing)),
        )
        engine.observe(batch)
        codes = encode(self.reference, batch)
        self.recent.add(np.arange(row, row + CHUNK), codes.codes, {"client": traffic.clients})
        engine.observe_labels(ids, traffic.labels.tolist())
        return [c.incident for c in engine.evaluate(0.0) if c.state == "opened"]

    def read(self, incident: Incident) -> tuple[list[str], str]:
        """Return the causes an incident names now, and the slice."""
        state = self.engine.state
        assert state is not None
        before = {
            c.name: self.reference.profile.mean_sd(c.name) for c in self.reference.layout.sources
        }
        since = Since.of(
            state.history, state.sources, before, incident.change_row, self.engine.rows
        )
        effects = [since.described(state.streams[m.stream]) or m.effect for m in incident.members]
        incident = incident.copy()
        incident.members = [
            _with(member, effect) for member, effect in zip(incident.members, effects, strict=True)
        ]
        incident.members = rank_members(
            incident.members, state.streams, self.reference.sensitivity, since=since
        )
        culprit = state.streams[incident.culprit.stream]
        whom = for_whom(self.recent, culprit, incident.change_row)
        rollouts = [Rollout(CLEAN - 10, "version", "version 2")] if self.fault.rollout else []
        explain(
            incident,
            state.streams,
            self.reference.sensitivity,
            since=since,
            whom=whom,
            rollouts=rollouts,
        )
        self.culprit = incident.culprit
        return [c.id for c in incident.causes], "" if whom is None else whom.text


def _with(member: Any, effect: Any) -> Any:
    from dataclasses import replace

    return replace(member, effect=effect)


def _logit(scores: FloatArray) -> FloatArray:
    held = np.clip(scores, 1e-6, 1 - 1e-6)
    return np.asarray(np.log(held / (1 - held)))


def run(world_name: str, kind_name: str, seed: int) -> Record | None:
    """Serve traffic, let one thing go wrong, and read what the incident says.

    Parameters
    ----------
    world_name, kind_name
        Data set and kind of fault.
    seed
        Everything random follows from it.

    Returns
    -------
    Record or None
        None where the data set has no column that can go wrong in this way.
    """
    world, kind = WORLDS[world_name](), KINDS[kind_name]
    rng = np.random.default_rng([seed, len(kind_name), sum(map(ord, kind_name + world_name))])
    fault = kind.make(world, rng)
    if fault is None:
        return None
    service = Service(world, fault, rng)
    record = Record(world_name, kind_name, seed)
    for _ in range(CLEAN // CHUNK):
        record.early |= bool(service.serve(False))
    opened: Incident | None = None
    while service.engine.rows < CLEAN + LATEST:
        found = service.serve(True)
        if found:
            opened = found[0]
            break
    if opened is None:
        return record
    record.found, record.delay = True, opened.opened_row - CLEAN
    record.opening = service.read(opened)[0]
    for _ in range(READ // CHUNK):
        service.serve(True)
    now = next((i for i in service.engine.incidents if i.id == opened.id), opened)
    record.causes, record.whom = service.read(now)
    right = [i for i, cause in enumerate(record.causes, 1) if cause in kind.causes]
    record.place = min(right, default=0)
    record.culprit = service.culprit.target
    record.target_right = not fault.targets or service.culprit.target in fault.targets
    record.whom_right = (f"= {fault.client}:" in record.whom) if fault.client else not record.whom
    return record


def needed(kind: str, world_name: str) -> bool:
    """Tell whether the engine has the monitor a kind of fault needs."""
    needs = KINDS[kind].needs
    if not needs:
        return True
    engine = Engine(reference_of(world_name), clock=Still())
    return engine.state is not None and any(s.monitor == needs for s in engine.state.streams)


__all__ = ["CLEAN", "LATEST", "Record", "needed", "reference_of", "run"]
