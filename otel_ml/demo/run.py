"""The whole run: in, options; out, the outcome, the page and the JSON, and nothing left behind."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TextIO

import numpy as np

from otel_ml.demo import collector, report, workspace
from otel_ml.demo.charts import Stretch
from otel_ml.demo.data import COLUMNS, People, example_folder, read_people
from otel_ml.demo.faults import TOTAL_ROWS
from otel_ml.demo.outcome import Counts, Outcome
from otel_ml.demo.reference import MODEL_NAME, prepare_reference
from otel_ml.demo.replay import Replay, ReplayLog
from otel_ml.demo.server import Server
from otel_ml.demo.telemetry import Telemetry
from otel_ml.demo.terminal import Terminal
from otel_ml.demo.workspace import Paths
from otel_ml.emit import Receiver
from otel_ml.errors import ConfigError
from otel_ml.semconv import attributes as attr
from otel_ml.semconv import metrics as metric
from otel_ml.semconv.livecheck import check

__all__ = ["Options", "judge", "run", "years_of"]

SETTLE_LIMIT: Final = 20.0
"""Guard, in seconds: by then the last counts have arrived, or never will."""


@dataclass(frozen=True, slots=True)
class Options:
    """What can be chosen.

    Parameters
    ----------
    folder
        Where everything is written.
    seed
        Seed of all randomness.
    pace
        Rows per second; 0 is as fast as the server goes.
    label_delay
        Rows between a prediction and its label.
    json
        Where the JSON goes: a file, or None.
    keep_serving
        Whether server and receiver stay up until they are interrupted.
    otlp_endpoint
        Base URL of a Collector that forwards to the receiver; None exports to the receiver itself.
    receiver_port
        Port of the receiver; 0 is a free one.
    """

    folder: Path
    seed: int = 0
    pace: float = 350.0
    label_delay: int = 600
    json: Path | None = None
    keep_serving: bool = False
    otlp_endpoint: str | None = None
    receiver_port: int = 0


def run(options: Options, out: TextIO) -> Outcome:
    """Run the demo.

    Parameters
    ----------
    options
        What was chosen.
    out
        Where to tell what happens.

    Raises
    ------
    OtelMlError
        It cannot start, or broke off; the message says why.
    """
    if options.otlp_endpoint is not None and not options.receiver_port:
        raise ConfigError(
            "--otlp-endpoint needs --receiver-port",
            remedy="Give the port to which that Collector forwards.",
        )
    workspace.check_installed()
    began = time.monotonic()
    terminal = Terminal(out, TOTAL_ROWS)
    seconds: dict[str, float] = {}
    paths = Paths(options.folder.absolute() / "work")
    paths.prepare()
    terminal.say("otel-ml demo: a real model on real data, six faults, nothing configured", "bold")

    terminal.wait("training the model on people of 2015")
    with _timed(seconds, "train"):
        model: dict[str, Any] = {"name": MODEL_NAME, **workspace.train(paths, options.seed)}
    terminal.step(
        f"trained on {model['rows']:,} people of 2015, right about {model['accuracy'] * 100:.1f} %",
        seconds["train"],
    )
    with _timed(seconds, "reference"):
        prepare_reference(paths.training, paths.reference)
        workspace.write_config(paths)
    size = paths.reference.stat().st_size / 1024
    terminal.step(f"reference profile of the training data: {size:,.0f} kB", seconds["reference"])

    people = read_people(example_folder(), rows=TOTAL_ROWS, seed=options.seed)
    telemetry = Telemetry()
    with contextlib.ExitStack() as stack:
        receiver = stack.enter_context(_receiver(options.receiver_port, telemetry))
        terminal.wait("starting the server")
        collected = options.otlp_endpoint is not None
        served = Server(paths, options.otlp_endpoint or receiver.endpoint, traces=collected)
        with _timed(seconds, "start"):
            stack.enter_context(served)
        terminal.step(f"opentelemetry-instrument uvicorn app:app   {served.url}", seconds["start"])
        replay = Replay(
            people,
            served.address,
            paths.state,
            served,
            seed=options.seed,
            rows_per_second=options.pace,
            label_delay=options.label_delay,
        )

        def tick() -> None:
            terminal.update(replay.log, replay.year, collector.incidents(telemetry))

        with _timed(seconds, "replay"):
            replay.run(tick)
        terminal.wait("waiting for the last counts")
        with _timed(seconds, "settle"):
            _settle(telemetry, replay.log)
            if not options.keep_serving:
                served.stop()
                _settle(telemetry, replay.log)
        tick()
        seconds["all"] = time.monotonic() - began
        strays = [
            f"{stray.signal_name}: {stray.message}"
            for stray in check(receiver.metrics, receiver.logs, receiver.traces)
        ]
        outcome = judge(telemetry, replay.log, model, options, seconds, strays)
        _write(outcome, telemetry, people, options)
        terminal.finish(outcome)
        if options.keep_serving:
            _keep(terminal, served, receiver, people)
    return outcome


def judge(
    telemetry: Telemetry,
    log: ReplayLog,
    model: dict[str, Any],
    options: Options,
    seconds: dict[str, float],
    strays: Sequence[str] = (),
) -> Outcome:
    """Compare what was done with what the telemetry says.

    Parameters
    ----------
    telemetry
        What arrived.
    log
        What was sent.
    model
        Name of the model, rows it was trained on, its accuracy.
    options
        What was chosen.
    seconds
        How long each part took.
    strays
        Telemetry that is not as the registry of names says.
    """
    known = collector.incidents(telemetry)
    findings = collector.find(log.passages, known, options.label_delay)
    dropped: dict[str, int] = {}
    for one in telemetry.series(metric.ML_MONITORING_DROPPED):
        reason, value = str(one.attributes.get(attr.ML_DROP_REASON, "")), one.points[-1].value
        if isinstance(value, (int, float)) and value:
            dropped[reason] = dropped.get(reason, 0) + int(value)
    return Outcome(
        seed=options.seed,
        model=model,
        budget=workspace.BUDGET,
        log=log,
        counts=Counts(_predictions(telemetry), _joined(telemetry), dropped),
        findings=findings,
        known=known,
        other=collector.others(findings, known),
        label_delay=options.label_delay,
        seconds=seconds,
        page=options.folder.absolute() / "index.html",
        strays=strays,
    )


def years_of(people: People) -> list[Stretch]:
    """Return which rows are of which year."""
    stretches = []
    for year in np.unique(people.years).tolist():
        of_year = np.flatnonzero(people.years == year)
        first, last = int(of_year[0]), int(of_year[-1]) + 1
        tip = f"people of {year}: rows {first:,} to {last:,}"
        stretches.append(Stretch(first, last, str(year), tip, "year"))
    return stretches


def _receiver(port: int, telemetry: Telemetry) -> Receiver:
    try:
        # The store keeps what is needed; the receiver need not keep the requests as well.
        return Receiver(
            port, keep=1, on_metrics=telemetry.take_metrics, on_logs=telemetry.take_logs
        )
    except OSError as error:
        raise ConfigError(
            f"--receiver-port {port} cannot be listened on: {error}",
            remedy="Choose a port that is free.",
        ) from error


@contextlib.contextmanager
def _timed(seconds: dict[str, float], part: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    seconds[part] = time.monotonic() - began


def _settle(telemetry: Telemetry, log: ReplayLog) -> None:
    _until(
        lambda: _predictions(telemetry) == log.rows and _joined(telemetry) == log.labels,
        SETTLE_LIMIT,
    )


def _until(condition: Callable[[], bool], limit: float) -> None:
    deadline = time.monotonic() + limit
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.1)


def _predictions(telemetry: Telemetry) -> int:
    return int(telemetry.total(metric.ML_PREDICTIONS))


def _joined(telemetry: Telemetry) -> int:
    return int(telemetry.total(metric.ML_LABELS, {attr.ML_LABEL_STATE: attr.MlLabelState.JOINED}))


def _write(outcome: Outcome, telemetry: Telemetry, people: People, options: Options) -> None:
    html = report.page(outcome, telemetry, years_of(people))
    (options.folder / "index.html").write_text(html, encoding="utf-8")
    if options.json is not None:
        options.json.write_text(json.dumps(outcome.to_json(), indent=2) + "\n", encoding="utf-8")


def _keep(terminal: Terminal, served: Server, receiver: Receiver, people: People) -> None:
    row = dict(zip(COLUMNS, people.features[0].astype(int).tolist(), strict=True))
    terminal.say()
    terminal.say(f"Still serving at {served.url}, telemetry arrives at {receiver.endpoint}.")
    terminal.say("Ask it for a prediction:")
    terminal.say(
        f"  curl -i {served.url}/predict -H 'content-type: application/json' -d '{json.dumps(row)}'"
    )
    terminal.say("Tell it the truth later, by the x-prediction-id of the answer:")
    terminal.say(f"  otel-ml label ID 1 --state {served.paths.state}")
    terminal.say("Ctrl-C ends it.")
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            time.sleep(1)
