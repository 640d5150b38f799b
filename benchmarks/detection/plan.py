"""The size of a run in, the list of things to measure out, each small enough to be repeated."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from benchmarks.detection.faults import FAULTS
from benchmarks.detection.models import CASES
from benchmarks.detection.streams import KINDS, Kind, variant

PARTS: Final = ("null", "factorial", "fault")
_SHUFFLED: Final = ("strong sessions", "mild sessions")
ONLY_IID: Final = ("learned", "pairs")  # groups of faults
SESSIONS_TOO: Final = ("faint sessions", "light sessions", "mild sessions")
_WIDTHS: Final = (0, 90, 290, 990)
_REFERENCES: Final = (1_000, 5_000, 20_000, 100_000)
_BATCHES: Final = (1, 10, 100, 1_000, 10_000)
FACTORIAL: Final[tuple[Kind, ...]] = (
    *KINDS.values(),
    variant(KINDS["mild sessions"], "interleaved sessions", interleaved=8),
    variant(KINDS["hours"], "hour is an input", clock_column=True),
    variant(KINDS["growth"], "growth, 3.5 days known", reference_days=3.5, growth=0.5),
    variant(KINDS["mild sessions"], "sessions by hours", hours=0.7),
)


@dataclass(frozen=True)
class Task:
    """One stream to be measured.

    Parameters
    ----------
    part, condition
        Which table and which row of it.
    case, seed
        Data set with model, and what decides all chance.
    kind
        Traffic.
    rows
        Length of a stream without fault; 0 where the fault decides.
    reference_rows, batch
        Rows of the reference (0: learned from the first traffic), and rows of a call.
    width
        Columns the model does not use.
    reference
        ``ordered``, ``shuffled`` (no order is visible) or ``learned``.
    floor
        Lasting shift of one column, in standard deviations, that must not alarm.
    """

    part: str
    condition: str
    case: str
    seed: int
    kind: str
    rows: int = 0
    reference_rows: int = 20_000
    batch: int = 100
    width: int = 0
    reference: str = "ordered"
    floor: float = 0.0

    @property
    def key(self) -> str:
        """What makes it one of its kind."""
        return "|".join(str(v) for v in asdict(self).values())


def kind_of(task: Task) -> Kind:
    """Return the traffic of a task."""
    kinds: dict[str, Kind] = {k.name: k for k in FACTORIAL}
    return replace(kinds[task.kind], width=task.width)


def tasks(*, quick: bool, only: tuple[str, ...] = ()) -> list[Task]:
    """Return what is to be measured.

    Parameters
    ----------
    quick
        A twentieth of the rows without fault, and a sixth of the seeds of each fault.
    only
        Parts, or beginnings of conditions; all if empty.
    """
    every = [*_nulls(quick), *_factorial(quick), *_faults(quick)]
    if not only:
        return every
    return [t for t in every if t.part in only or any(t.condition.startswith(o) for o in only)]


def _nulls(quick: bool) -> Iterator[Task]:
    runs, rows = (2, 50_000) if quick else (20, 100_000)
    conditions: list[tuple[str, dict[str, Any]]] = [(k, {"kind": k}) for k in KINDS]
    conditions += [(f"{k}, order unknown", {"kind": k, "reference": "shuffled"}) for k in _SHUFFLED]
    conditions += [
        ("learned, iid", {"kind": "iid", "reference": "learned", "reference_rows": 2000}),
        (
            "learned, mild sessions",
            {"kind": "mild sessions", "reference": "learned", "reference_rows": 2000},
        ),
        ("shift of 0.03 sd", {"kind": "iid", "floor": 0.03}),
    ]
    for name, options in conditions:
        for i in range(runs):
            yield Task("null", name, CASES[i % len(CASES)], 1000 + i, rows=rows, **options)


def _factorial(quick: bool) -> Iterator[Task]:
    for i in range(11 if quick else 88):
        width = _WIDTHS[(i + i // 4) % 4]
        batch = _BATCHES[(2 * i + i // 5) % 5]
        rows = {0: 50_000, 90: 40_000, 290: 20_000, 990: 10_000}[width]
        rows = 5_000 if batch == 1 else 10_000 if quick else rows
        yield Task(
            "factorial",
            FACTORIAL[i % len(FACTORIAL)].name,
            CASES[(i + i // 8) % len(CASES)],
            3000 + i,
            FACTORIAL[i % len(FACTORIAL)].name,
            rows=rows,
            reference_rows=min(_REFERENCES[(i // 4) % 4], 20_000_000 // (width + 10)),
            batch=batch,
            width=width,
        )


def _faults(quick: bool) -> Iterator[Task]:
    for kind in ("iid", *SESSIONS_TOO):
        for fault in FAULTS.values():
            if kind != "iid" and fault.group in ONLY_IID:
                continue
            for i, seed in enumerate(fault.seeds[: len(fault.seeds) // (6 if quick else 1)]):
                yield Task(
                    "fault",
                    fault.name,
                    CASES[i % len(CASES)],
                    seed,
                    kind,
                    width=fault.width,
                    reference="learned" if fault.group == "learned" else "ordered",
                    reference_rows=2000 if fault.group == "learned" else 20_000,
                )
