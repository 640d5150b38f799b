"""``otel-ml doctor``: what is wrong is said, what to do about it too, and nothing is touched."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

Call = Callable[..., Any]
Findings = list[tuple[str, str, str]]


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Iterator[str]:
    """Listen on a port, and point OTLP at it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        endpoint = f"http://127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        yield endpoint


@pytest.fixture
def closed_port() -> int:
    """Return a port at which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.fixture
def doctor(otel_ml: Call, content: Call) -> Callable[..., Findings]:
    """Return the findings, after checking that exit code and they agree and nothing changed."""

    def call(*arguments: str) -> Findings:
        before = content()
        ended = otel_ml("doctor", "--json", "-", *arguments)
        assert content() == before
        document = json.loads(ended.out)
        assert document.keys() == {"schema", "ok", "findings"}
        assert document["schema"] == "otel-ml/doctor/1"
        assert all(f.keys() == {"level", "what", "remedy"} for f in document["findings"])
        found = [(f["level"], f["what"], f["remedy"]) for f in document["findings"]]
        broken = [f for f in found if f[0] == "broken"]
        assert {level for level, _, _ in found} <= {"ok", "note", "broken"}
        assert all(remedy for _, _, remedy in broken)
        assert document["ok"] is (not broken)
        assert ended.code == (1 if broken else 0)
        return found

    return call


@pytest.fixture
def model(otel_ml: Call, table: Path, folder: Path) -> Path:
    """Make reference and configuration of a model ``churn``."""
    options = ("--score", "p", "--label", "y", "--sensitive", "sex", "--ignore", "rid,who,seen")
    assert otel_ml("init", "--reference", table.name, *options, "--model", "churn").code == 0
    return folder / "otel-ml.yaml"


def _broken(found: Findings) -> tuple[str, str]:
    ((what, remedy),) = [(what, remedy) for level, what, remedy in found if level == "broken"]
    return what, remedy


def _notes(found: Findings) -> str:
    return "\n".join(what for level, what, _ in found if level == "note")


def test_all_is_well(
    otel_ml: Call, content: Call, collector: str, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_ML_STATE_DIR", "state")
    before = content()
    ended = otel_ml("doctor")
    assert (ended.code, ended.err) == (0, "")
    assert "WRONG" not in ended.out
    assert "ok    configuration: otel-ml.yaml\n" in ended.out
    assert " is watched by ml_sklearn\n" in ended.out
    assert " is watched by ml_starlette\n" in ended.out
    assert "ok    churn: reference " in ended.out
    assert f"ok    state directory {model.parent / 'state'}\n" in ended.out
    assert f"ok    OTLP endpoint {collector}/v1/metrics answers\n" in ended.out
    assert f"ok    OTLP endpoint {collector}/v1/logs answers\n" in ended.out
    assert content() == before  # the state directory was not made either


def test_nothing_is_configured(doctor: Call, collector: str) -> None:
    found = doctor()
    assert found[0] == ("ok", "configuration: no file; defaults and environment variables", "")
    assert "no state directory" in _notes(found)
    assert not [f for f in found if f[0] == "broken"]


def test_the_order_is_that_of_a_prediction(doctor: Call, collector: str, model: Path) -> None:
    places = [what for _, what, _ in doctor()]
    marks = ("configuration:", "watched by ml_sklearn", "churn:", "state dir", "OTLP endpoint")
    order = [next(i for i, what in enumerate(places) if mark in what) for mark in marks]
    assert order == sorted(order)


def test_findings_go_to_a_file_too(
    otel_ml: Call, content: Call, collector: str, model: Path, folder: Path
) -> None:
    before = content()
    ended = otel_ml("doctor", "--json", "found.json")
    assert ended.code == 0
    document = json.loads((folder / "found.json").read_text())
    assert document["schema"] == "otel-ml/doctor/1"
    assert document["ok"] is True
    printed = [line[6:] for line in ended.out.splitlines() if not line.startswith("   ")]
    assert printed == [finding["what"] for finding in document["findings"]]
    after = content()
    del after["found.json"]
    assert after == before


def test_remedies_are_printed_below(
    otel_ml: Call, monkeypatch: pytest.MonkeyPatch, closed_port: int
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{closed_port}")
    ended = otel_ml("doctor")
    assert ended.code == 1
    lines = ended.out.splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("WRONG OTLP endpoint"))
    assert lines[at + 1].startswith("        start the Collector")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "models:\n- name: churn\n  referense: x\n",
            "my.yaml:3: models[0].referense: unknown key; did you mean reference?",
        ),
        (
            "models:\n- name: churn\n  name: churn\n",
            "my.yaml:3: models[0].name: the key is given twice",
        ),
        ("models: [\n", "my.yaml:2: not valid YAML"),
    ],
)
def test_a_broken_configuration(doctor: Call, folder: Path, text: str, said: str) -> None:
    (folder / "my.yaml").write_text(text)
    found = doctor("--config", "my.yaml")
    assert len(found) == 1
    assert _broken(found)[0].startswith(said)


def test_a_configuration_that_is_missing(doctor: Call) -> None:
    assert _broken(doctor("--config", "gone.yaml"))[0].startswith("gone.yaml: ")


def test_config_goes_before_the_variable(
    doctor: Call, collector: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_ML_CONFIG_FILE", "gone.yaml")
    (folder / "my.yaml").write_text("learn_rows: 77\nmodels: [{name: churn}]\n")
    found = doctor("--config", "my.yaml")
    assert found[0] == ("ok", "configuration: my.yaml", "")
    assert "churn: no reference; the first 77 predictions become it" in _notes(found)


def test_a_misspelt_variable(doctor: Call, collector: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_ML_REFRENCE", "x.json")
    assert "OTEL_ML_REFRENCE is not a variable of otel-ml; did you mean OTEL_ML_REFERENCE?" in (
        _notes(doctor())
    )


def test_switched_off(doctor: Call, collector: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_ML_ENABLED", "false")
    assert "OTEL_ML_ENABLED is false" in _notes(doctor())


@pytest.mark.parametrize("name", ["ml", "ml_sklearn"])
def test_an_instrumentation_switched_off(
    doctor: Call, collector: str, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", f"redis, {name}")
    notes = _notes(doctor())
    assert f"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS switches {name} off" in notes
    assert "redis" not in notes


def test_a_reference_of_another_model(doctor: Call, collector: str, model: Path) -> None:
    model.write_text(model.read_text().replace("name: churn", "name: fraud"))
    what, _ = _broken(doctor())
    assert f"{model.parent / 'reference.json'}: a reference of model 'churn'" in what
    assert "configured for model 'fraud'" in what


def test_a_reference_that_was_edited(doctor: Call, collector: str, model: Path) -> None:
    reference = model.parent / "reference.json"
    edited = reference.read_text().replace('"threshold": 0.5', '"threshold": 0.6')
    assert edited != reference.read_text()
    reference.write_text(edited)
    what, remedy = _broken(doctor())
    assert f"{reference}: checksum " in what
    assert "otel-ml init" in remedy


@pytest.mark.parametrize("content_", [b"", b"{", b"[]", b"\xff\xfe", b'{"format": "x"}'])
def test_a_reference_that_is_none(
    doctor: Call, collector: str, model: Path, content_: bytes
) -> None:
    reference = model.parent / "reference.json"
    reference.write_bytes(content_)
    assert str(reference) in _broken(doctor())[0]


def test_a_reference_that_is_missing(doctor: Call, collector: str, model: Path) -> None:
    (model.parent / "reference.json").unlink()
    what, remedy = _broken(doctor())
    assert what.startswith(f"cannot read the reference {model.parent / 'reference.json'}")
    assert "models[].reference" in remedy


@pytest.mark.parametrize("key", ["sensitive", "slices"])
@pytest.mark.parametrize("column", ["race", "age"])  # not there at all; there, but not as a group
def test_a_group_that_is_not_in_the_reference(
    doctor: Call, collector: str, model: Path, key: str, column: str
) -> None:
    text = model.read_text().replace("  sensitive:\n  - sex\n", f"  {key}: [sex, {column}]\n")
    model.write_text(text)
    what, remedy = _broken(doctor())
    assert f"churn: column '{column}' (sensitive or slices) is not in " in what
    assert str(model.parent / "reference.json") in what
    assert "it has: sex" in remedy


@pytest.mark.parametrize("below", ["", "/st"])
def test_a_state_directory_that_cannot_be(
    doctor: Call, collector: str, folder: Path, monkeypatch: pytest.MonkeyPatch, below: str
) -> None:
    (folder / "taken").write_text("a file")
    monkeypatch.setenv("OTEL_ML_STATE_DIR", f"taken{below}")
    what, _ = _broken(doctor())
    assert what == f"state directory {folder}/taken{below} cannot be written"


def test_a_collector_that_is_down(
    doctor: Call, monkeypatch: pytest.MonkeyPatch, closed_port: int
) -> None:
    url = f"http://user:secret@127.0.0.1:{closed_port}"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
    found = doctor()
    broken = [f for f in found if f[0] == "broken"]
    assert len(broken) == 2  # metrics and logs
    for _, what, remedy in broken:
        assert f"OTLP endpoint http://127.0.0.1:{closed_port}/v1/" in what
        assert "does not answer" in what
        assert "OTEL_EXPORTER_OTLP_ENDPOINT" in remedy
    assert "secret" not in str(found)


def test_grpc(doctor: Call, collector: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    target = collector.removeprefix("http://")
    assert ("ok", f"OTLP endpoint {target} answers", "") in doctor()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "unix:///run/otel.sock")
    assert "unix:///run/otel.sock is no TCP address: not tried" in _notes(doctor())


@pytest.mark.parametrize("endpoint", ["http://localhost:port", "http://[::bad", "http://h:99999"])
def test_an_endpoint_that_is_no_url(
    doctor: Call, monkeypatch: pytest.MonkeyPatch, folder: Path, endpoint: str
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
    broken = [f for f in doctor() if f[0] == "broken"]
    assert len(broken) == 2
    assert {remedy for _, _, remedy in broken} == {"correct OTEL_EXPORTER_OTLP_ENDPOINT"}


@pytest.mark.parametrize(
    "variables",
    [
        {"OTEL_SDK_DISABLED": "true"},
        {"OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none"},
    ],
)
def test_telemetry_that_is_disabled(
    doctor: Call, monkeypatch: pytest.MonkeyPatch, folder: Path, variables: dict[str, str]
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    found = doctor()
    assert "telemetry goes nowhere" in _notes(found)
    assert not [what for _, what, _ in found if "OTLP endpoint" in what]
    assert not [f for f in found if f[0] == "broken"]


@pytest.mark.parametrize(
    "text", [None, "file_format: [", "file_format: '1.0'\nmeter_provider: 5\n"]
)
def test_a_declarative_file_that_cannot_be_used(
    doctor: Call, folder: Path, monkeypatch: pytest.MonkeyPatch, text: str | None
) -> None:
    if text is not None:
        (folder / "otel.yaml").write_text(text)
    monkeypatch.setenv("OTEL_CONFIG_FILE", "otel.yaml")
    what, _ = _broken(doctor())
    assert what.startswith("OTEL_CONFIG_FILE=otel.yaml: ")
