"""Every check passes where it should, and fails where what it is about is broken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from otel_ml.selftest.collector import Totals
from otel_ml.selftest.odd import ODD, Hostile, fingerprint, stalling
from otel_ml.selftest.trial import GROWTH, REPEATS, WARNINGS, Trial

CALLS = {"n": 10, "p50_us": 2.0, "p99_us": 5.0, "max_us": 900.0}
STATE: dict[str, Any] = {"threads": ["MainThread", "otel-ml"], "files": 9}


def record(text: str, level: str = "WARNING") -> dict[str, Any]:
    return {"level": level, "text": text}


def many(n: int) -> list[dict[str, Any]]:
    return [record(f"it is {'x' * i}; check it") for i in range(n)]


CASES: list[tuple[str, Callable[[Trial], None], Callable[[Trial], None]]] = [
    (
        "no error in the application",
        lambda t: t.quiet([], "a warning"),
        lambda t: t.quiet(["ValueError: no"], ""),
    ),
    (
        "no error in the application",
        lambda t: t.quiet([], ""),
        lambda t: t.quiet([], "Traceback (most recent call last):"),
    ),
    (
        "no call blocks",
        lambda t: t.calls(CALLS),
        lambda t: t.calls({**CALLS, "max_us": 1.1e6}),
    ),
    (
        "exact counts",
        lambda t: t.books(Totals(9, 5, {"queue_full": 4, "not_serving": 7}), 9),
        lambda t: t.books(Totals(9, 5, {"queue_full": 3}), 9),
    ),
    (
        "exact counts",
        lambda t: t.books(Totals(9, 9), 9),
        lambda t: t.books(Totals(9, 9), 10),
    ),
    (
        "exact counts",
        lambda t: t.books(Totals(9, 9), 5, calls=3),
        lambda t: t.books(Totals(9, 9), 5, calls=5),
    ),
    (
        "bounded memory",
        lambda t: t.grown(100, 100 + GROWTH),
        lambda t: t.grown(100, 101 + GROWTH),
    ),
    (
        "message",
        lambda t: t.told([record("the queue is full; raise queue_size")], "queue"),
        lambda t: t.told([record("the queue is full")], "queue"),
    ),
    (
        "message",
        lambda t: t.told([record("the queue is full; raise queue_size")], "queue"),
        lambda t: t.told([record("the queue is full; raise queue_size", "INFO")], "queue"),
    ),
    (
        "message",
        lambda t: t.told([record("3 lost; check it")] * REPEATS, "lost"),
        lambda t: t.told([record(f"{i} lost; check it") for i in range(REPEATS + 1)], "lost"),
    ),
    (
        "message",
        lambda t: t.told(many(WARNINGS), "it is"),
        lambda t: t.told(many(WARNINGS + 1), "it is"),
    ),
    (
        "nothing left behind",
        lambda t: t.left(STATE, STATE, []),
        lambda t: t.left(STATE, {**STATE, "threads": [*STATE["threads"], "x"]}, []),
    ),
    (
        "nothing left behind",
        lambda t: t.left(STATE, {**STATE, "files": 8}, []),
        lambda t: t.left(STATE, {**STATE, "files": 10}, []),
    ),
    (
        "nothing left behind",
        lambda t: t.left({**STATE, "files": None}, {**STATE, "files": None}, []),
        lambda t: t.left(STATE, STATE, ["core"]),
    ),
]


@pytest.mark.parametrize(("name", "good", "bad"), CASES)
def test_a_check_passes_and_fails(
    name: str, good: Callable[[Trial], None], bad: Callable[[Trial], None]
) -> None:
    passed, failed = Trial(), Trial()
    good(passed)
    bad(failed)
    assert [(c.name, c.verdict) for c in passed.checks] == [(name, "PASS")]
    assert [(c.name, c.verdict) for c in failed.checks] == [(name, "FAIL")]
    assert (passed.verdict, passed.reason) == ("PASS", "")
    assert failed.verdict == "FAIL"
    assert failed.reason.startswith(f"{name}: ")


def test_incidents_are_no_complaint() -> None:
    trial = Trial()
    trial.told([record("incident opened of model a: drift")] * 30, None)
    assert trial.checks == []
    assert len(trial.messages) == 20


def test_what_cannot_be_looked_at_is_skipped() -> None:
    nothing, some, passed = Trial(), Trial(), Trial()
    for trial in (some, passed):
        trial.grown(None, None)
    passed.check("other", True, "")
    assert [trial.verdict for trial in (nothing, some, passed)] == ["SKIP", "SKIP", "PASS"]
    assert "Linux" in some.reason


@pytest.mark.parametrize("name", ODD)
def test_odd_arguments_look_alike_each_time(name: str) -> None:
    assert fingerprint(ODD[name]()) == fingerprint(ODD[name]())


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"x": [1.0]}, {"x": [1.5]}),
        (np.zeros(2), np.array([0.0, -0.0])),
        (np.zeros(2), np.zeros(2, "f4")),
        ([[1], [2]], [[1]]),
        ("ab", "ba"),
        (True, 1),
    ],
)
def test_a_change_is_seen(before: Any, after: Any) -> None:
    assert fingerprint(before) != fingerprint(after)


@pytest.mark.parametrize("ask", [str, repr, hash, len, np.asarray, iter, float, bool])
def test_a_hostile_object_answers_nothing(ask: Callable[[Any], Any]) -> None:
    with pytest.raises(SystemExit, match="application"):
        ask(Hostile(SystemExit))
    assert fingerprint(Hostile(SystemExit)) == "Hostile"


@pytest.mark.parametrize("ask", [len, np.asarray, iter])
def test_a_stalling_object_keeps_waiting(ask: Callable[[Any], Any]) -> None:
    asked: list[int] = []
    ask(stalling(lambda: asked.append(1)))
    assert asked
