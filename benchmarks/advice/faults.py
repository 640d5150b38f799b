"""A data set and a seed in, one thing that goes wrong with its traffic out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.advice.worlds import World
from otel_ml.types import FloatArray, IntArray


@dataclass
class Traffic:
    """Some rows on their way through the service; a fault changes them in place.

    Parameters
    ----------
    columns
        Features as they reach the model.
    labels
        As they will be reported.
    clients
        Who sends each row.
    shift
        Added to the log odds of the scores.
    threshold
        Decision threshold.
    slow
        Factor of the duration of calls.
    failing
        Share of calls that fail.
    """

    columns: dict[str, NDArray[Any]]
    labels: IntArray
    clients: NDArray[Any]
    shift: float = 0.0
    threshold: float = 0.5
    slow: float = 1.0
    failing: float = 0.0
    gone: tuple[str, ...] = ()


Change = Callable[[Traffic, np.random.Generator], None]
Weights = Callable[[World], FloatArray]


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong.

    Parameters
    ----------
    change
        What it does to rows.
    weights
        How likely each row of the pool is to be drawn, shape ``(n,)``; None: all alike.
    targets
        Features concerned; one of them should be the culprit.
    rollout
        Whether the roll-out is announced to the engine's user.
    client
        The client that alone has it, or "".
    """

    change: Change
    weights: FloatArray | None = None
    targets: tuple[str, ...] = ()
    rollout: bool = False
    client: str = ""


Make = Callable[[World, np.random.Generator], "Fault | None"]


def _some(rng: np.random.Generator, n: int, share: float) -> NDArray[np.bool_]:
    return np.asarray(rng.random(n) < share)


def _numeric(world: World, rng: np.random.Generator, distinct: int = 8) -> str:
    known = [c for c in world.numeric if len(np.unique(world.columns[c][:2000])) >= distinct]
    return str(rng.choice(known))


def _category(world: World, rng: np.random.Generator, least: int = 2) -> str | None:
    fitting = []
    for c in world.categorical:
        _, counts = np.unique(world.columns[c].astype(str), return_counts=True)
        big = np.sort(counts / counts.sum())[::-1]
        if big[0] < 0.85 and (big > 0.08).sum() >= least:
            fitting.append(c)
    return str(rng.choice(fitting)) if fitting else None


def _on(target: str, change: Callable[[NDArray[Any], np.random.Generator], NDArray[Any]]) -> Fault:
    def apply(traffic: Traffic, rng: np.random.Generator) -> None:
        traffic.columns[target] = change(traffic.columns[target], rng)

    return Fault(apply, targets=(target,))


def _unit(world: World, rng: np.random.Generator) -> Fault | None:
    target, factor = _numeric(world, rng), float(rng.choice([12, 100, 1000, 1 / 1000, 2.2046]))
    values = world.columns[target]
    if abs(np.nanmean(values)) < 0.5 * np.nanstd(values):
        return None  # of values around zero no factor can be told from a spread
    share = float(rng.choice([0.3, 1.0])) if factor > 1 else 1.0
    return _on(target, lambda v, r: np.where(_some(r, len(v), share), v * factor, v))


def _offset(world: World, rng: np.random.Generator) -> Fault:
    target = _numeric(world, rng)
    step = float(np.nanstd(world.columns[target])) * float(rng.choice([0.5, 0.8, -0.7]))
    return _on(target, lambda v, r: v + step)


def _sign(world: World, rng: np.random.Generator) -> Fault:
    return _on(_numeric(world, rng), lambda v, r: -v)


def _swap(world: World, rng: np.random.Generator) -> Fault | None:
    names = [c for c in world.numeric if len(np.unique(world.columns[c][:2000])) >= 8]
    if len(names) < 2:
        return None
    a, b = (str(v) for v in rng.choice(names, 2, replace=False))

    def apply(traffic: Traffic, rng: np.random.Generator) -> None:
        columns = traffic.columns
        columns[a], columns[b] = columns[b], columns[a]

    return Fault(apply, targets=(a, b))


def _lost(share: float) -> Callable[[NDArray[Any], np.random.Generator], NDArray[Any]]:
    def change(v: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
        out = v.copy()
        out[_some(rng, len(v), share)] = None if v.dtype == object else np.nan
        return out

    return change


def _missing(world: World, rng: np.random.Generator) -> Fault:
    target = str(rng.choice([*world.numeric, *world.categorical]))
    return _on(target, _lost(float(rng.choice([0.1, 0.3]))))


def _join(world: World, rng: np.random.Generator) -> Fault:
    names = [*world.numeric, *world.categorical]
    targets = tuple(str(v) for v in rng.choice(names, 3, replace=False))
    share = float(rng.choice([0.15, 0.4]))

    def apply(traffic: Traffic, rng: np.random.Generator) -> None:
        rows = _some(rng, len(traffic.labels), share)
        for name in targets:
            column = traffic.columns[name].copy()
            column[rows] = None if column.dtype == object else np.nan
            traffic.columns[name] = column

    return Fault(apply, targets=targets)


def _new(world: World, rng: np.random.Generator) -> Fault:
    target, share = str(rng.choice(world.categorical)), float(rng.choice([0.08, 0.25]))
    return _on(target, lambda v, r: np.where(_some(r, len(v), share), "brand-new", v))


def _renamed(world: World, rng: np.random.Generator) -> Fault | None:
    target = _category(world, rng, 3)
    if target is None:
        return None
    known, counts = np.unique(world.columns[target].astype(str), return_counts=True)
    big = known[(counts > 0.08 * counts.sum()) & (counts < 0.6 * counts.sum())]
    old = str(rng.choice(big))
    if rng.random() < 0.6 or len(big) < 2:
        return _on(target, lambda v, r: np.where(v == old, f"{old}-v2", v))
    other = str(rng.choice([b for b in big if b != old]))
    swap = {old: other, other: old}
    return _on(target, lambda v, r: np.array([swap.get(x, x) for x in v.tolist()], dtype=object))


def _wild(world: World, rng: np.random.Generator) -> Fault:
    target = _numeric(world, rng)
    values = world.columns[target]
    top, sd = float(np.nanmax(values)), float(np.nanstd(values))

    def change(v: NDArray[Any], r: np.random.Generator) -> NDArray[Any]:
        far = top + sd * r.exponential(6, len(v))
        return np.where(_some(r, len(v), 0.12), far, v)

    return _on(target, change)


def _sentinel(world: World, rng: np.random.Generator) -> Fault:
    target = _numeric(world, rng)
    low = float(np.nanmin(world.columns[target]))
    value = float(rng.choice([-999.0, 9999.0, 99999.0, -1.0 if low > 0.5 else -999.0]))
    share = float(rng.choice([0.06, 0.2]))
    if value <= np.nanmax(world.columns[target]) and value >= low:
        value = 9_999_999.0
    return _on(target, lambda v, r: np.where(_some(r, len(v), share), value, v))


def _typed(world: World, rng: np.random.Generator) -> Fault:
    def change(v: NDArray[Any], r: np.random.Generator) -> NDArray[Any]:
        out = v.astype(object)
        rows = _some(r, len(v), 0.4)
        out[rows] = [f"{x:.1f} units" for x in v[rows].tolist()]
        return out

    return _on(_numeric(world, rng), change)


def _stuck(world: World, rng: np.random.Generator) -> Fault:
    category = _category(world, rng)
    target = category if category is not None and rng.random() < 0.3 else _numeric(world, rng)
    value = world.columns[target][int(rng.integers(0, world.n))]
    return _on(target, lambda v, r: np.full(len(v), value, dtype=v.dtype))


def _default(world: World, rng: np.random.Generator) -> Fault:
    target, share = _numeric(world, rng), float(rng.choice([0.2, 0.4]))
    value = float(np.nanquantile(world.columns[target], float(rng.choice([0.3, 0.5, 0.8]))))
    return _on(target, lambda v, r: np.where(_some(r, len(v), share), value, v))


def _rounded(world: World, rng: np.random.Generator) -> Fault:
    target = _numeric(world, rng, 12)
    step = 0.9 * float(np.nanstd(world.columns[target]))
    return _on(target, lambda v, r: np.round(v / step) * step)


def _clipped(world: World, rng: np.random.Generator) -> Fault:
    target, above = _numeric(world, rng, 12), bool(rng.random() < 0.7)
    limit = float(np.nanquantile(world.columns[target], 0.75 if above else 0.25))
    return _on(target, lambda v, r: np.minimum(v, limit) if above else np.maximum(v, limit))


def _frozen(world: World, rng: np.random.Generator) -> Fault:
    names = [*world.numeric, *(c for c in (_category(world, rng),) if c is not None)]
    targets = tuple(str(v) for v in rng.choice(names, min(3, len(names)), replace=False))
    row = int(rng.integers(0, world.n))
    values = {name: world.columns[name][row] for name in targets}

    def apply(traffic: Traffic, rng: np.random.Generator) -> None:
        for name, value in values.items():
            column = traffic.columns[name]
            traffic.columns[name] = np.full(len(column), value, dtype=column.dtype)

    return Fault(apply, targets=targets)


def _nothing(traffic: Traffic, rng: np.random.Generator) -> None:
    return


def _population(world: World, rng: np.random.Generator) -> Fault:
    target = _numeric(world, rng)
    values = world.columns[target]
    ranks = np.argsort(np.argsort(np.nan_to_num(values, nan=np.nanmedian(values)))) / world.n
    slope = float(rng.choice([1.8, -1.8]))
    return Fault(_nothing, weights=np.exp(slope * ranks))


def _segment(world: World, rng: np.random.Generator) -> Fault | None:
    target = _category(world, rng, 3)
    if target is None:
        return None
    known, counts = np.unique(world.columns[target].astype(str), return_counts=True)
    fitting = known[(counts > 0.05 * counts.sum()) & (counts < 0.35 * counts.sum())]
    if not len(fitting):
        return None
    grown = str(rng.choice(fitting))
    weights = np.where(world.columns[target].astype(str) == grown, 4.0, 1.0)
    return Fault(_nothing, weights=weights, targets=(target,))


def _shuffled(world: World, rng: np.random.Generator) -> Fault:
    columns = {c: np.nan_to_num(world.columns[c][:4000]) for c in world.numeric}
    tied = np.abs(np.nan_to_num(np.corrcoef(np.array(list(columns.values()))))) - np.eye(
        len(columns)
    )
    target = str(world.numeric[int(np.argmax(tied.max(axis=1)))])
    return _on(target, lambda v, r: r.permutation(v))


def _scores(world: World, rng: np.random.Generator, rollout: bool = False) -> Fault:
    step = float(rng.choice([0.8, -0.8]))

    def apply(traffic: Traffic, rng: np.random.Generator) -> None:
        traffic.shift = step

    return Fault(apply, targets=("score", "prediction"), rollout=rollout)


def _threshold(world: World, rng: np.random.Generator) -> Fault:
    value = float(rng.choice([0.25, 0.75]))

    def apply(traffic: Traffic, rng: np.random.Generator) -> None:
        traffic.threshold = value

    return Fault(apply, targets=("prediction",))


def _prior(world: World, rng: np.random.Generator) -> Fault:
    return Fault(_nothing, weights=np.where(world.labels == int(rng.integers(0, 2)), 3.0, 1.0))


def _flip(share: float, group: bool) -> Make:
    def make(world: World, rng: np.random.Generator) -> Fault:
        values = np.unique(world.columns[world.sensitive].astype(str))
        hurt = str(rng.choice(values))

        def apply(traffic: Traffic, rng: np.random.Generator) -> None:
            rows = _some(rng, len(traffic.labels), share)
            if group:
                rows &= traffic.columns[world.sensitive].astype(str) == hurt
            traffic.labels = np.where(rows, 1 - traffic.labels, traffic.labels)

        targets = (f"{world.sensitive}={hurt}",) if group else ("performance", "calibration")
        return Fault(apply, targets=targets)

    return make


def _calls(slow: float, failing: float, target: str) -> Make:
    def make(world: World, rng: np.random.Generator) -> Fault:
        def apply(traffic: Traffic, rng: np.random.Generator) -> None:
            traffic.slow, traffic.failing = slow, failing

        return Fault(apply, targets=(target,))

    return make


def _one_client(world: World, rng: np.random.Generator) -> Fault:
    inner = _missing(world, rng) if rng.random() < 0.5 else _sentinel(world, rng)
    (target,) = inner.targets

    def apply(traffic: Traffic, rng: np.random.Generator) -> None:
        own = traffic.clients == "c2"
        column = traffic.columns[target].copy()
        broken = Traffic({target: column.copy()}, traffic.labels, traffic.clients)
        for _ in range(3):  # nearly all of the client's rows
            inner.change(broken, rng)
        column[own] = broken.columns[target][own]
        traffic.columns[target] = column

    return Fault(apply, targets=(target,), client="c2")


@dataclass(frozen=True)
class Kind:
    """A kind of fault: how to make one, and the causes that name it rightly."""

    make: Make
    causes: tuple[str, ...]
    needs: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)


KINDS: Final[Mapping[str, Kind]] = {
    "unit_change": Kind(_unit, ("unit_change",)),
    "shifted_offset": Kind(_offset, ("shifted_offset",)),
    "sign_flip": Kind(_sign, ("sign_flip",)),
    "swapped_columns": Kind(_swap, ("swapped_columns",)),
    "missing_values": Kind(_missing, ("missing_values",)),
    "upstream_join_failure": Kind(_join, ("upstream_join_failure",)),
    "new_category": Kind(_new, ("new_category",)),
    "category_renamed": Kind(_renamed, ("category_renamed",)),
    "out_of_range": Kind(_wild, ("out_of_range",)),
    "sentinel_value": Kind(_sentinel, ("sentinel_value",)),
    "type_change": Kind(_typed, ("type_change",)),
    "stuck_value": Kind(_stuck, ("stuck_value",)),
    "default_value": Kind(_default, ("default_value",)),
    "rounding_or_precision": Kind(_rounded, ("rounding_or_precision",)),
    "clipping": Kind(_clipped, ("clipping",)),
    "feature_pipeline_delay": Kind(_frozen, ("feature_pipeline_delay",)),
    "input_shift": Kind(_population, ("input_shift",)),
    "subpopulation_growth": Kind(_segment, ("subpopulation_growth",)),
    "correlation_change": Kind(_shuffled, ("correlation_change",), needs="joint_drift"),
    "score_shift": Kind(_scores, ("score_shift",)),
    "model_rollout": Kind(lambda w, r: _scores(w, r, True), ("model_rollout",)),
    "threshold_change": Kind(_threshold, ("threshold_change",)),
    "class_prior_shift": Kind(_prior, ("class_prior_shift",)),
    "concept_drift": Kind(_flip(0.3, False), ("concept_drift", "performance_drop")),
    "subgroup_performance_drop": Kind(_flip(0.4, True), ("subgroup_performance_drop",)),
    "latency_increase": Kind(_calls(12.0, 0.0, "latency"), ("latency_increase",)),
    "error_increase": Kind(_calls(1.0, 0.2, "errors"), ("error_increase",)),
    # both are true of it; whether the client was named is counted by itself
    "client_change": Kind(_one_client, ("client_change", "missing_values", "sentinel_value")),
}
