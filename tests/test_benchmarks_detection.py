"""The detection benchmark on a few thousand rows: traffic, faults, comparators and the harness."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
pytest.importorskip("sklearn")


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    folder = tmp_path_factory.getbasetemp() / "detection-cache"
    monkeypatch.setenv("OTEL_ML_CACHE", str(folder))


def _traffic(kind: str, seed: int = 3) -> Any:
    from benchmarks.detection.models import case
    from benchmarks.detection.streams import KINDS, Traffic

    return Traffic(case("acs-linear"), KINDS[kind], seed)


@pytest.mark.parametrize("kind", ["iid", "strong sessions", "mild sessions", "bursts", "growth"])
def test_traffic_keeps_the_law_of_the_pool(kind: str) -> None:
    traffic = _traffic(kind)
    rows = traffic.draw(20_000)
    assert (np.diff(rows.times) >= 0).all()
    pool = traffic.case.table.pool["AGEP"]
    # sessions of 28 rows on average leave at least 700 independent rows
    assert abs(rows.columns["AGEP"].mean() - pool.mean()) < 5 * pool.std() / math.sqrt(700)
    assert set(rows.columns["AGEP"]) <= set(pool)


def test_strong_sessions_repeat_and_others_repeat_in_part() -> None:
    def alike(kind: str) -> float:
        rows = _traffic(kind).draw(5000)
        same = [v[1:] == v[:-1] for v in rows.columns.values()]
        return float(np.mean(same))

    plain, light = alike("iid"), alike("light sessions")
    mild, strong = alike("mild sessions"), alike("strong sessions")
    assert strong > 0.9
    assert plain + 0.02 < light < mild - 0.1
    assert mild < strong - 0.05


def test_seasons_come_back() -> None:
    traffic = _traffic("hours")
    rows = traffic.draw(20_000)
    hour = (rows.times % 86_400.0) // 3600.0
    week = (rows.times - rows.times[0]) // 604_800.0
    members = traffic.segments
    share = [
        np.mean(hour[week == w] < 12) for w in range(4)
    ]  # the volume has a day, and every week has the same one
    assert max(share) - min(share) < 0.06
    assert abs(float(np.mean(share)) - 0.5) > 0.02
    assert sum(len(m) for m in members) == len(traffic.case.table.pool_labels)


def test_every_fault_changes_what_it_says() -> None:
    from benchmarks.detection.faults import FAULTS
    from benchmarks.detection.places import package_folder
    from benchmarks.detection.site import Site
    from benchmarks.detection.streams import Kind, Traffic

    playbook = (package_folder() / "incidents" / "advice" / "playbook.yaml").read_text("utf-8")
    known = set(re.findall(r"- id: (\w+)", playbook))
    for fault in FAULTS.values():
        traffic = _traffic("iid")
        traffic = Traffic(traffic.case, Kind(width=fault.width), 3)
        rows = traffic.draw(1500)
        before = {k: v.copy() for k, v in rows.columns.items()}
        labels = rows.labels.copy()
        pick, rng = np.random.default_rng(1), np.random.default_rng(2)
        truth = fault.apply(Site(traffic.case, traffic, rows, 500, 1500, pick, rng))
        moved = {k for k, v in rows.columns.items() if not _same(v, before[k])}
        assert all(_same(v[:500], before[k][:500]) for k, v in rows.columns.items()), fault.name
        if truth.column:
            assert truth.column in moved, fault.name
        assert set(truth.causes) <= known, fault.name
        assert moved or truth.outputs or (rows.labels != labels).any(), fault.name


def _same(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> bool:
    return all(
        a == b or (a != a and b != b) for a, b in zip(one.tolist(), other.tolist(), strict=True)
    )


def test_known_laws_alarm_falsely_as_seldom_as_they_should() -> None:
    from benchmarks.detection import oracle

    rng = np.random.default_rng(4)
    clean, moved = rng.normal(size=60_000), rng.normal(0.7, 1, size=60_000)
    laws = oracle.laws_of(clean, moved)
    # the divergence of the cells is a little below that of the densities, 0.245
    assert 0.2 < laws.kl < 0.26
    rows, chains = 20_000, 15
    alarms = 0
    for _ in range(chains):
        values, first = rng.normal(size=rows), 0
        while (at := oracle.alarm(laws, values[first:], 0)) is not None:
            alarms, first = alarms + 1, first + at
    # three are expected; a Poisson count of that mean is in 0…11 with probability 0.9999
    assert alarms <= 11
    delays = [oracle.alarm(laws, rng.normal(0.7, 1, size=2000), 0) or 2000 for _ in range(50)]
    assert 25 < np.mean(delays) < 80  # log(100,000) / KL is 47


def test_windows_find_a_shift_and_leave_clean_rows_alone() -> None:
    from benchmarks.detection import windows

    traffic = _traffic("iid")
    reference, rows = traffic.draw(20_000), traffic.draw(4000)
    for part in (reference, rows):
        part.scores = traffic.case.model.predict(part.columns)
    assert all(w.psi < 0.2 for w in windows.watch(reference, rows))
    rows.columns["AGEP"] = rows.columns["AGEP"] + 20
    seen = windows.watch(reference, rows)
    assert [w.psi_column for w in seen] == ["AGEP"] * 4
    assert all(w.psi > 0.2 and w.p < 1e-6 for w in seen)


def test_limits_are_exact() -> None:
    from benchmarks.detection.limits import binomial, poisson

    assert poisson(0, 20.0)[1] == pytest.approx(-math.log(0.025) / 20)
    low, high = poisson(3, 1.0)
    assert low == pytest.approx(0.6187, abs=1e-3)
    assert high == pytest.approx(8.7673, abs=1e-3)
    assert binomial(0, 20)[1] == pytest.approx(1 - 0.025 ** (1 / 20))
    assert binomial(20, 20)[0] == pytest.approx(0.025 ** (1 / 20))


@pytest.mark.slow
def test_one_null_and_one_fault_are_measured_and_not_measured_again(tmp_path: Path) -> None:
    from benchmarks.detection.measure import measure
    from benchmarks.detection.places import cache_folder
    from benchmarks.detection.plan import Task
    from benchmarks.detection.report import report
    from benchmarks.detection.store import append, read

    # what calibrating the windows, which takes long, would put there
    (cache_folder() / "acs-linear-windows.json").write_text("[0.05, 0.0005]")
    null = Task("null", "iid", "acs-linear", 1009, "iid", rows=3000, reference_rows=5000)
    fault = Task("fault", "unit change, all rows", "acs-linear", 5001, "iid", reference_rows=5000)
    for task in (null, fault):
        append(tmp_path / f"{task.part}.jsonl", measure(task))
    (clean,) = read(tmp_path / "null.jsonl")
    (broken,) = read(tmp_path / "fault.jsonl")
    assert clean["rows"] == 3000
    # at most one false incident in 33 runs of this length is allowed; two would be a defect
    assert clean["opened"] <= 1
    assert broken["found"]
    assert broken["delay"] <= 500
    assert broken["first_right"]
    assert Task(**json.loads(json.dumps(clean["task"]))).key == null.key
    text = report(tmp_path)
    assert "unit change, all rows" in text
    assert "within budget" in text


def test_the_command_says_what_it_can() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.detection", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "--quick" in done.stdout


def test_the_page_has_the_tables_of_the_records() -> None:
    from benchmarks.detection.page import PAGE, filled

    page = PAGE.read_text(encoding="utf-8")
    assert "| otel-ml" in page
    assert filled(page) == page, "run: python -m benchmarks.detection report --page"


def test_a_page_without_its_marks_is_refused() -> None:
    from benchmarks.detection.page import filled

    with pytest.raises(ValueError, match="numbers: python -m benchmarks"):
        filled("# Something else\n")
