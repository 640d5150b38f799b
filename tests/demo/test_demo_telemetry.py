from __future__ import annotations

from typing import Any

import numpy as np

from otel_ml.demo import views
from otel_ml.semconv import metrics as metric


def test_totals_are_exact(simulated: Any) -> None:
    assert simulated.telemetry.total(metric.ML_PREDICTIONS) == 27_000
    assert simulated.telemetry.total(metric.ML_LABELS, {"ml.label.state": "joined"}) == 27_000
    assert simulated.telemetry.total(metric.ML_LABELS, {"ml.label.state": "unknown"}) == 0


def test_rows_follow_the_clock(simulated: Any) -> None:
    times, rows = simulated.telemetry.clock()
    assert (np.diff(rows) > 0).all()
    middle = simulated.telemetry.rows_at([float(times[3] + times[4]) / 2])[0]
    assert rows[3] < middle < rows[4]


def test_unit_change_shows_in_the_last_cell(simulated: Any) -> None:
    bars = views.cells(simulated.telemetry, "AGEP", 6_000, 7_000)
    assert abs(sum(bar.reference for bar in bars) - 1) < 1e-9
    assert bars[-1].label.startswith(">")
    assert bars[-1].now > 0.8
    assert abs(bars[-1].reference - 0.1) < 1e-9


def test_missing_values_have_their_cell(simulated: Any) -> None:
    bars = {bar.label: bar for bar in views.cells(simulated.telemetry, "SCHL", 9_500, 11_000)}
    assert 0.2 < bars["missing"].now < 0.4
    assert bars["missing"].reference == 0


def test_unseen_category_is_shown(simulated: Any) -> None:
    bars = {bar.label: bar for bar in views.cells(simulated.telemetry, "MAR", 13_500, 15_000)}
    assert 0.1 < bars["unseen"].now < 0.2


def test_many_categories_are_cut_down_to_those_that_tell(simulated: Any) -> None:
    bars = views.cells(simulated.telemetry, "RELP", 6_000, 7_000)
    assert len(bars) <= views.SHOWN_CELLS
    assert bars[-1].label == "rest"
    assert abs(sum(bar.now for bar in bars) - 1) < 0.02


def test_latency_rises_where_it_did(simulated: Any) -> None:
    slow, median = views.latency(simulated.telemetry)
    during = [v for row, v in zip(median.rows, median.values, strict=True) if 25_200 < row < 25_900]
    before = [v for row, v in zip(median.rows, median.values, strict=True) if row < 24_000]
    assert min(during) > 0.1
    assert max(before) < 0.01
    assert slow.label != median.label


def test_groups_before_and_during(simulated: Any) -> None:
    groups = views.groups(simulated.telemetry, "SEX", 18_500, 16_900, "SEX=2")
    assert [group.label for group in groups] == ["SEX=1", "SEX=2"]
    assert groups[1].marked
    assert groups[1].was is not None
    assert groups[1].upper < groups[1].was


def test_evidence_keeps_the_openings(simulated: Any) -> None:
    band = views.evidence(simulated.telemetry, [(6_050, 7.2)])
    assert (6_050, 7.2) in list(zip(band.rows, band.values, strict=True))
    assert list(band.rows) == sorted(band.rows)


def test_nothing_arrived() -> None:
    from otel_ml.demo.telemetry import Telemetry

    empty = Telemetry()
    assert views.cells(empty, "AGEP", 0, 100) == []
    assert views.groups(empty, "SEX", 10, 5) == []
    assert views.threshold(empty) is None
    assert views.latency(empty)[0].rows == []
    assert views.score_cells(empty, 0, 10, 10) == []
