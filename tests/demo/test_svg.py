from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from otel_ml.demo import charts, svg
from otel_ml.demo.timeline import timeline


@pytest.mark.parametrize(
    ("low", "high", "about", "expected"),
    [
        (0, 27_000, 6, [0, 5_000, 10_000, 15_000, 20_000, 25_000]),
        (0.4, 0.9, 5, [0.4, 0.5, 0.6, 0.7, 0.8, 0.9]),
        (-3, 3, 3, [-2, 0, 2]),
        (5, 5, 4, [5]),
    ],
)
def test_ticks_are_round(low: float, high: float, about: int, expected: list[float]) -> None:
    assert svg.ticks(low, high, about) == pytest.approx(expected)


def test_scale_stays_in_its_frame() -> None:
    scale = svg.Scale(0, 10, 100, 0)
    assert [scale(value) for value in (0, 5, 10, 99, -1)] == [100, 50, 0, 0, 100]
    assert svg.Scale(3, 3, 0, 10)(3) == 0  # nothing varies, and nothing divides by zero


def test_text_is_escaped() -> None:
    drawn = svg.document(10, 10, [svg.text(0, 0, "<&>"), svg.rect(0, 0, 1, 1, "a", tip="<t>")], '"')
    root = ET.fromstring(drawn)
    assert [child.text for child in root if child.tag == "text"] == ["<&>"]
    assert root.get("aria-label") == '"'


def test_steps_hold_their_value() -> None:
    assert svg.line([(0, 1), (5, 2)], "k", steps=True) == '<path class="k" d="M0.0 1.0H5.0V2.0"/>'
    assert svg.line([], "k") == ""


@pytest.mark.parametrize("width", [360.0, 1000.0])
def test_charts_of_nothing_are_still_drawings(width: float) -> None:
    empty = charts.Band([], [])
    for drawn in (
        timeline(empty, None, [], [], [], 100, width),
        charts.over_rows([empty], [], 100, width),
        charts.shares([], width, label="x"),
        charts.intervals([], width, label="x"),
    ):
        assert ET.fromstring(drawn).tag == "svg"


def test_incident_labels_do_not_overlap() -> None:
    incidents = [charts.Stretch(100 * i, 100 * i + 50, "a label of some length") for i in range(5)]
    drawn = timeline(charts.Band([0, 1], [0, 1]), 1.0, [], incidents, [], 1000, 600)
    labels = [e for e in ET.fromstring(drawn).iter("text") if e.text == "a label of some length"]
    rows = [float(e.get("y", 0)) for e in labels]
    places = [float(e.get("x", 0)) for e in labels]
    for i in range(5):
        for j in range(i):
            assert rows[i] != rows[j] or abs(places[i] - places[j]) > 22 * 11 * 0.5


def test_label_of_a_bar_at_the_edge_goes_before_it() -> None:
    late = [charts.Stretch(500, 1000, "a label of some length")]
    drawn = timeline(charts.Band([0, 1], [0, 1]), 1.0, [], late, [], 1000, 600)
    (label,) = [e for e in ET.fromstring(drawn).iter("text") if e.text == late[0].label]
    assert label.get("class") == "small end"
