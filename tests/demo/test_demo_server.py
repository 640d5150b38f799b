"""The served example itself: trained, started, asked, rolled out, slowed down and stopped."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from otel_ml.config import load
from otel_ml.demo import workspace
from otel_ml.demo.data import COLUMNS, People
from otel_ml.demo.faults import TIMELINE
from otel_ml.demo.replay import Replay
from otel_ml.demo.server import Server
from otel_ml.demo.workspace import Paths, ServerError

ROLL_OUT = next(fault for fault in TIMELINE if fault.action == "roll_out")
SLOW_DOWN = next(fault for fault in TIMELINE if fault.action == "slow_down")

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> Paths:
    one = Paths(tmp_path_factory.mktemp("demo"))
    one.prepare()
    said = workspace.train(one, seed=0)
    assert said["rows"] == 20_000
    assert said["accuracy"] > 0.8
    return one


@pytest.fixture(scope="module")
def plain(paths: Paths) -> Iterator[Server]:
    with Server(paths, "http://127.0.0.1:1", instrumented=False) as one:
        yield one


def ask(one: Server, payload: Any) -> tuple[int, dict[str, Any]]:
    connection = http.client.HTTPConnection(*one.address, timeout=30)
    try:
        connection.request(
            "POST", "/predict", json.dumps(payload), {"content-type": "application/json"}
        )
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def row_of(people: People, index: int) -> dict[str, float]:
    return dict(zip(COLUMNS, people.features[index].tolist(), strict=True))


def test_one_row_and_many_agree(plain: Server, people: People) -> None:
    rows = [row_of(people, i) for i in range(5)]
    _, many = ask(plain, {"rows": rows})
    single = [ask(plain, row)[1]["probabilities"][0] for row in rows]
    assert many["probabilities"] == single
    assert many["decisions"] == [int(p >= 0.5) for p in single]


def test_model_is_right_about_later_years(plain: Server, people: People) -> None:
    chosen = np.random.default_rng(0).choice(len(people), 1500, replace=False)
    _, said = ask(plain, {"rows": [row_of(people, int(i)) for i in chosen]})
    assert (np.array(said["decisions"]) == people.labels[chosen]).mean() > 0.78


def test_null_and_new_codes_are_served(plain: Server, people: People) -> None:
    status, said = ask(plain, {**row_of(people, 0), "SCHL": None, "MAR": 6, "AGEP": 600})
    assert status == 200
    assert 0 <= said["probabilities"][0] <= 1


def test_bad_requests_are_explained(plain: Server, people: People) -> None:
    row = row_of(people, 0)
    del row["SEX"]
    status, said = ask(plain, row)
    assert (status, "SEX" in said["detail"]) == (422, True)
    assert ask(plain, {**row, "SEX": "x"})[0] == 422


def test_roll_out_and_back(plain: Server, people: People) -> None:
    rows = {"rows": [row_of(people, i) for i in range(300)]}
    before = ask(plain, rows)[1]["probabilities"]
    plain.begin(ROLL_OUT)
    during = ask(plain, rows)[1]["probabilities"]
    plain.end(ROLL_OUT)
    assert np.mean(during) > np.mean(before) + 0.05
    assert ask(plain, rows)[1]["probabilities"] == before


def test_slow_feature_store_is_in_the_model_call(plain: Server, people: People) -> None:
    plain.begin(SLOW_DOWN)
    began = time.monotonic()
    ask(plain, row_of(people, 0))
    took = time.monotonic() - began
    plain.end(SLOW_DOWN)
    assert took >= 0.12  # it sleeps this long; nothing makes it shorter


def test_replay_against_the_real_service(plain: Server, people: People, tmp_path: Path) -> None:
    few = People(people.features[:300], people.labels[:300], people.years[:300])
    log = Replay(few, plain.address, tmp_path, plain, rows_per_second=0).run()
    assert (log.rows, log.unnamed) == (300, 300)  # nothing names predictions in the plain service


def test_configuration_is_valid(paths: Paths) -> None:
    workspace.write_config(paths)
    settings = load({"OTEL_ML_CONFIG_FILE": str(paths.config)})
    (model,) = settings.models
    assert (model.name, model.positive, model.sensitive) == (
        "acs-employment", "1", ("SEX", "RAC1P", "DIS"),
    )  # fmt: skip
    assert settings.budget.per == "100000rows"
    assert settings.min_effect == 0.06


def test_failing_server_shows_its_output(paths: Paths, tmp_path: Path) -> None:
    broken = Paths(tmp_path)
    broken.prepare()
    broken.model.write_bytes(b"not a model")
    one = Server(broken, "http://127.0.0.1:1", instrumented=False)
    with pytest.raises(ServerError, match="ended while it started") as caught, one:
        pass
    assert "Error" in caught.value.message


def test_server_is_gone_afterwards(paths: Paths) -> None:
    with Server(paths, "http://127.0.0.1:1", instrumented=False) as one:
        address = one.address
    with pytest.raises(ConnectionRefusedError):
        http.client.HTTPConnection(*address, timeout=5).request("GET", "/health")


def test_own_telemetry_settings_do_not_leak(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "api-key=secret")
    monkeypatch.setenv("OTEL_ML_SALT", "mine")
    made = workspace.environment({"OTEL_SERVICE_NAME": "x"})
    assert {key for key in made if key.startswith("OTEL_")} == {"OTEL_SERVICE_NAME"}


def test_missing_extra_is_named() -> None:
    code = (
        "import sys; sys.modules['fastapi'] = None\n"
        "from otel_ml.demo.workspace import check_installed\n"
        "check_installed()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, check=False
    )
    assert "pip install 'otel-ml[demo]'" in done.stderr
