"""The cost benchmark at small sizes: table, page, exit code, anchors, and the checks of figures."""

from __future__ import annotations

import http.client
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
for module in ("sklearn", "fastapi", "uvicorn", "pandas", "prometheus_client"):
    pytest.importorskip(module)
HANG = 300  # seconds; not a measure of speed
_DISABLED = "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS"


@pytest.fixture(autouse=True)
def _path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))


def _line(ours: float, bound: float | None, beside: float | None = 10.0) -> Any:
    from benchmarks.cost.line import Line

    return Line("work", "µs", ours, "another" if beside else "", beside, bound, "so many")


@pytest.mark.parametrize(
    ("ours", "bound", "beside", "verdict"),
    [
        (1.0, 0.1, 10.0, "met"),
        (1.1, 0.1, 10.0, "MISSED"),
        (1.1, None, 10.0, ""),
        (5.0, 5.0, None, "met"),
        (5.1, 5.0, None, "MISSED"),
        (-3.0, 1.0, None, "met"),
        (float("nan"), 1.0, 10.0, "MISSED"),
    ],
)
def test_a_budget_bounds_the_ratio_or_the_figure(
    ours: float, bound: float | None, beside: float | None, verdict: str
) -> None:
    assert _line(ours, bound, beside).verdict == verdict


def test_the_table_shows_figures_ratios_and_verdicts() -> None:
    from benchmarks.cost.table import missed, table

    lines = [_line(0.25, 1 / 25), _line(30.0, 1.5), _line(5.25, 5.0, None)]
    text = table({"row": lines})
    head, rule, first, second, third = text.splitlines()
    assert len({len(line) for line in text.splitlines()}) == 1
    assert head.count("|") == rule.count("|") == 9
    cells = [[c.strip() for c in line.split("|")[1:-1]] for line in (first, second, third)]
    assert cells[0] == [
        "row", "work", "0.250 µs", "another", "10.0 µs", "1/40.0", "≤ 1/25", "met",
    ]  # fmt: skip
    assert cells[1][5:] == ["3.00", "≤ 1.50", "MISSED"]
    assert cells[2][5:] == ["", "≤ 5.00 µs", "MISSED"]
    assert missed(lines) == lines[1:]


def test_a_record_comes_back_and_fills_the_page(tmp_path: Path) -> None:
    from benchmarks.cost.page import filled, numbers
    from benchmarks.cost.store import keep, kept

    lines = [_line(1.0, 0.5), _line(2.0, None, None)]
    keep("gil", lines, 3.21, tmp_path)
    keep("memory", lines[:1], 1.0, tmp_path)
    records = kept(("memory", "gil", "server"), tmp_path)
    assert [record.row for record in records] == ["memory", "gil"]
    assert (records[1].lines, records[1].seconds) == (lines, 3.2)
    assert records[0].machine["numpy"] == np.__version__
    text = numbers(records)
    assert text.count("| gil ") == 2
    assert "- gil: so many." in text
    assert f"numpy {np.__version__}" in text
    marks = "<!-- numbers: python -m benchmarks.cost report --page -->\n", "<!-- end of numbers -->"
    page = filled(f"before\n{marks[0]}old\n{marks[1]}\nafter\n", records)
    assert page == f"before\n{marks[0]}{text}\n{marks[1]}\nafter\n"
    assert filled(page, records) == page
    with pytest.raises(ValueError, match="needs the lines"):
        filled("no marks", records)


def test_the_page_is_that_of_the_kept_records() -> None:
    from benchmarks.cost.__main__ import ROWS
    from benchmarks.cost.page import PAGE, filled
    from benchmarks.cost.store import kept

    records = kept(ROWS)
    assert {record.row for record in records} == set(ROWS)
    text = PAGE.read_text(encoding="utf-8")
    assert filled(text, records) == text


def test_every_row_has_a_module_and_every_module_is_a_row() -> None:
    from benchmarks.cost.__main__ import ROWS

    folder = ROOT / "benchmarks" / "cost" / "rows"
    assert {path.stem for path in folder.glob("*.py")} - {"__init__"} == set(ROWS)


@pytest.mark.parametrize(("ours", "code"), [(1.0, 0), (2.0, 1)])
def test_a_missed_budget_is_exit_code_1(
    ours: float, code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from benchmarks.cost.__main__ import main
    from benchmarks.cost.store import keep

    keep("gil", [_line(ours, 0.1)], 1.0, tmp_path)
    assert main(["report", "--results", str(tmp_path)]) == code
    said = capsys.readouterr()
    assert "| gil" in said.out
    assert ("over its budget: gil, work beside another" in said.err) == bool(code)


def test_a_row_that_cannot_be_measured_is_said_and_is_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from benchmarks.cost import __main__ as command

    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    assert command.main(["--only", "instructions", "--quick"]) == 1
    assert "not measured: instructions: needs valgrind" in capsys.readouterr().err


def _run(row: str) -> tuple[subprocess.CompletedProcess[str], list[list[str]]]:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.cost", "--quick", "--only", row],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=HANG,
        check=False,
    )
    rows = [line.split("|")[1:-1] for line in done.stdout.splitlines()[2:]]
    return done, [[cell.strip() for cell in cells] for cells in rows]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("row", "lines"),
    [
        ("request_path", 13),
        ("total_cpu", 2),
        ("batch_cpu", 6),
        ("batch_path", 6),
        ("memory", 3),
        ("export_size", 4),
        ("gil", 5),
        ("import_time", 4),
    ],
)
def test_a_row_is_measured(row: str, lines: int) -> None:
    done, found = _run(row)
    assert len(found) == lines, done.stderr
    assert all(cells[0] == row for cells in found)
    missed = any(cells[7] == "MISSED" for cells in found)
    assert done.returncode == int(missed), done.stderr
    assert ("over its budget" in done.stderr) == missed


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("callgrind_control") is None, reason="needs valgrind")
def test_instructions_are_those_of_what_is_told(tmp_path: Path) -> None:
    from benchmarks.cost.callgrind import Counting

    program = tmp_path / "program.py"
    program.write_text(
        "import sys\n"
        "print('ready', flush=True)\n"
        "for line in sys.stdin:\n"
        "    sum(range(int(line)))\n"
        "    print('done', flush=True)\n",
        encoding="utf-8",
    )
    with Counting([sys.executable, str(program)], os.environ) as counting:
        assert counting.ready == "ready"
        assert counting.tell("1") == "done"
        counting.start()
        found = []
        for n in (1_000, 1_000, 101_000, 201_000):
            counting.tell(str(n))
            found.append(counting.count())
    few, more, most = found[1:]
    assert few > 0
    assert more - few > 100_000
    assert (most - few) / (more - few) == pytest.approx(2.0, rel=0.05)


@pytest.mark.server
@pytest.mark.parametrize(("more", "predictions"), [({}, 3), ({_DISABLED: "ml"}, 0)])
def test_the_server_is_watched_unless_otel_ml_is_turned_off(
    more: dict[str, str], predictions: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from benchmarks.cost.collector import Collector
    from benchmarks.cost.rows.server import _environ, command, send
    from benchmarks.cost.server import FEATURES
    from otel_ml.semconv import metrics as m

    with Collector() as collector:
        environ = _environ(tmp_path, collector.endpoint) | more
        with subprocess.Popen(
            command(),
            cwd=ROOT,
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as server:
            assert server.stdin is not None
            assert server.stdout is not None
            client = http.client.HTTPConnection(
                "127.0.0.1", int(server.stdout.readline()), timeout=HANG
            )
            for _ in range(3):
                send(client, [[0.5] * FEATURES])
            server.stdin.write("settle\n")
            server.stdin.flush()
            assert server.stdout.readline() == "settled\n"
            client.close()
            server.stdin.close()
            assert server.wait(HANG) == 0
        told = collector.ask()
    assert told["requests"]["/v1/traces"] >= 1
    assert told["totals"].get(m.ML_PREDICTIONS.name, 0) == predictions


def test_the_span_and_prometheus_record_every_value_of_a_prediction() -> None:
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    from benchmarks.cost.anchors import PrometheusAnchor, SpanAnchor, recording
    from benchmarks.cost.predictions import Requests

    requests = Requests(40, seed=1).take(40)
    span, held = SpanAnchor(), InMemorySpanExporter()
    span.provider.add_span_processor(SimpleSpanProcessor(held))
    recording(span)(requests)
    span.drain()
    assert span.exporter.spans == 40
    assert span.exporter.bytes > 40 * 30 * 10
    first = held.get_finished_spans()[0].attributes or {}
    assert len(first) == 30
    assert set(requests[0][0]) <= set(first.values())
    span.provider.shutdown()
    series = PrometheusAnchor()
    recording(series)(requests)
    found = {s.name: s.value for m in series.registry.collect() for s in m.samples}
    assert sum(name.endswith("_count") for name in found) == 21
    assert all(v == 40 for name, v in found.items() if name.endswith("_count"))
    counters = [s for m in series.registry.collect() if m.type == "counter" for s in m.samples]
    totals = [s.value for s in counters if s.name.endswith("_total")]
    assert sum(totals) == 4 * 40


def test_the_binning_beside_the_engine_counts_what_the_engine_counts() -> None:
    from benchmarks.cost.rows.batch_cpu import _cells, _compare, binned, named, numbers
    from otel_ml import Reference
    from otel_ml.profile.cells import NumericCells

    reference = Reference.build(named(numbers(2_000, 5, 1)), model_name="binned")
    sources = [reference.layout.sources[reference.layout.index[n]] for n in reference.features]
    bounds = [source.bounds for source in sources if isinstance(source, NumericCells)]
    values = numbers(500, 5, 2)
    ways = binned(bounds)
    _compare(ways, values, reference)
    assert all(way(values).sum() == values.size for way in ways)
    assert _cells(reference, values)[0].sum() >= values.size
    with pytest.raises(AssertionError, match="counts otherwise"):
        _compare(binned([[b + 0.5 for b in of] for of in bounds]), values, reference)


def test_figures_of_a_run_that_lost_predictions_are_refused() -> None:
    from benchmarks.cost.rows.total_cpu import check
    from otel_ml.semconv import metrics as m

    whole = {
        m.ML_PREDICTIONS.name: 10,
        m.ML_MONITORING_CAPTURED.name: 10,
        m.ML_MONITORING_DROPPED.name: 0,
        m.ML_MONITORING_SAMPLED.name: 0,
    }
    check({"totals": whole}, 10)
    for name in whole:
        with pytest.raises(AssertionError, match=name):
            check({"totals": whole | {name: 3}}, 10)


def test_the_collector_tells_the_bytes_it_got() -> None:
    import urllib.request

    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
        ExportMetricsServiceRequest,
    )

    from benchmarks.cost.collector import METRICS, Collector

    request = ExportMetricsServiceRequest()
    resource = request.resource_metrics.add()
    resource.resource.attributes.add(key="k")
    scope = resource.scope_metrics.add()
    scope.scope.name = "s"
    metric = scope.metrics.add(name="m")
    for value in (2, 3):
        metric.sum.data_points.add(as_int=value)
    body = request.SerializeToString()
    with Collector() as collector:
        assert collector.ask() == {"requests": {}, "last": {}, "totals": {}}
        sent = urllib.request.Request(f"{collector.endpoint}{METRICS}", data=body, method="POST")
        with urllib.request.urlopen(sent, timeout=HANG) as answer:
            assert answer.status == 200
        told = collector.ask()
    assert (told["requests"], told["totals"]) == ({METRICS: 1}, {"m": 5})
    assert (told["last"]["raw"], told["last"]["metrics"]["m"]["raw"]) == (len(body), len(body))
    assert told["last"]["metrics"]["m"]["points"] == 2


def test_rounds_take_turns_and_the_least_is_found() -> None:
    from benchmarks.cost.timing import best, each, middle, rounds, share

    done: list[str] = []
    fed = iter(range(100))
    loops = {"a": lambda given: done.append(f"a{given}"), "b": lambda given: done.append("b")}
    between = {"a": lambda: done.append("after a"), "b": lambda: done.append("after b")}
    found = rounds(loops, lambda: next(fed), between, 3)
    assert [name for name in done if "after" not in name] == ["a0", "b", "b", "a3", "a4", "b"]
    assert done[1::2] == [f"after {name[0]}" for name in done[::2]]
    assert {name: len(times) for name, times in found.items()} == {"a": 3, "b": 3}
    assert (best([3, 1, 2]), middle([3, 1, 2]), share(range(100), 0.99)) == (1, 2, 99)
    assert len(each(lambda items: None, range(7))) == 7


def test_the_environment_of_a_row_is_not_the_callers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from benchmarks.cost.environment import environment

    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://somewhere")
    found = environment(tmp_path / "c.yaml", OTEL_METRICS_EXPORTER="otlp")
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" not in found
    assert (found["OTEL_METRICS_EXPORTER"], found["OTEL_TRACES_EXPORTER"]) == ("otlp", "none")
