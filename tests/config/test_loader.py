from __future__ import annotations

import os
import re
import threading
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import otel_ml.types
from otel_ml.config import ModelSettings, Settings, environment, from_mapping, load
from otel_ml.config.export import ExportSettings
from otel_ml.config.loader import unknown_variables
from otel_ml.config.model import BudgetSettings, CaptureSettings, Task
from otel_ml.config.values import options
from otel_ml.errors import ConfigError


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def _load(text: str, **env: str) -> Settings:
    Path("otel-ml.yaml").write_text(text, encoding="utf-8")
    return load(env)


def test_nothing_has_to_be_configured() -> None:
    assert load({}) == Settings()


def test_the_file_is_read_and_paths_belong_to_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "etc"
    folder.mkdir()
    file = folder / "ml.yaml"
    file.write_text(
        """
enabled: yes
state_dir: state
budget: {false_incidents: 2, per: 7d, rows_per_day: 1_000}
models:
  - name: churn
    version: 1.10
    match: Pipeline
    reference: ../ref.json
    task: binary
    positive: no
    threshold: ${env:CUT:-0.3}
    sensitive: [sex, '7']
    slices:
    ignore: []
capture:
  offline: true
  client_headers: [X-Api-Key]
  response_header: ""
  queue_size: 5
min_effect: .05
salt: ${env:PEPPER}
""",
        encoding="utf-8",
    )
    settings = load({"OTEL_ML_CONFIG_FILE": "etc/ml.yaml", "PEPPER": "s3cret"})
    assert settings == Settings(
        enabled=True,
        state_dir=folder / "state",
        budget=BudgetSettings(2.0, "7d", 1000.0),
        models=(
            ModelSettings(
                "churn",
                "1.10",
                "Pipeline",
                tmp_path / "ref.json",
                "binary",
                "no",
                0.3,
                ("sex", "7"),
            ),
        ),
        capture=CaptureSettings(True, ("X-Api-Key",), response_header="", queue_size=5),
        min_effect=0.05,
        salt="s3cret",
        source="etc/ml.yaml",
    )
    assert "s3cret" not in repr(settings)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("modles: []", r"otel-ml\.yaml:1: modles: unknown key; did you mean models\?"),
        ("x: 1", r"otel-ml\.yaml:1: x: unknown key\n  remedy: Known are enabled, state_dir"),
        ("source: x", r"otel-ml\.yaml:1: source: unknown key"),
        (
            "models:\n  - name: a\n    treshold: 1",
            r"otel-ml\.yaml:3: models\[0\]\.treshold: unknown key; did you mean threshold\?",
        ),
        (
            "models:\n  - name: a\n    threshold: 1.5",
            r"otel-ml\.yaml:3: models\[0\]\.threshold: expected a number between 0 and 1, "
            r"found 1\.5",
        ),
        ("models:\n- threshold: high", r"models\[0\]\.threshold: expected a number .*, found high"),
        ("models:\n- threshold: '0.5'", r"found '0\.5'\n  remedy: Remove the quotes"),
        ("models:\n- threshold: .nan", r"expected a number between 0 and 1, found \.nan"),
        ("models:\n- task: ranking", r"models\[0\]\.task: expected one of binary, .*found ranking"),
        ("models: churn", r"otel-ml\.yaml:1: models: expected a list, found churn"),
        ("models: [churn]", r"models\[0\]: expected keys and values, found churn"),
        ("models:\n- sensitive: sex", r"models\[0\]\.sensitive: expected a list, found sex"),
        ("models:\n- sensitive: [[a]]", r"sensitive\[0\]: expected a single value, found a list"),
        ("models:\n- name: {a: 1}", r"models\[0\]\.name: expected a single value, found a mapping"),
        (
            "models:\n- name: a\n- match: B",
            r"otel-ml\.yaml:3: models\[1\]\.name: missing\n  remedy: Name each model",
        ),
        (
            "models:\n- name: a\n- name: a",
            r"otel-ml\.yaml:3: models\[1\]: the same name, version and match as models\[0\]",
        ),
        ("enabled: 1", r"enabled: expected true or false, found 1"),
        ("enabled: 'true'", r"enabled: expected true or false, found 'true'"),
        ("enabled:", r"enabled: expected a value, found none"),
        ("learn_rows: 1e3", r"learn_rows: expected a whole number between 10 and .* found 1e3"),
        (
            "learn_rows: 9" + "9" * 39,
            r"learn_rows: expected a whole number between 10 and 10000000",
        ),
        ("learn_rows: " + "9" * 5000, r"learn_rows: expected a whole number"),
        ("min_group: 0", r"min_group: expected a whole number between 1 and 1000000, found 0"),
        ("budget: {false_incidents: 0}", r"expected a number above 0 and up to 1000000, found 0"),
        ("budget: {per: month}", r"budget\.per: expected a number and a unit .* found 'month'"),
        ("budget: 1", r"otel-ml\.yaml:1: budget: expected keys and values, found 1"),
        (
            "capture: {client_headers: ['a b']}",
            r"client_headers\[0\]: expected the name of an HTTP",
        ),
        ("capture: {response_header: 'a:b'}", r"response_header: expected the name of an HTTP"),
        ("salt: ''", r"salt: expected a text that is not empty"),
        ("salt: ' '", r"salt: expected a text that is not empty"),
        ("salt: [s3cret]", r"salt: expected a single value, found a list"),
        ("state_dir: ~nobody-of-this-name/x", r"state_dir: the path cannot be resolved"),
        ("- 1", r"otel-ml\.yaml:1: expected keys and values, found a list"),
        ("state_dir: ${env:NOPE}", r"otel-ml\.yaml:1: state_dir: .*NOPE is not set"),
    ],
)
def test_errors_name_file_line_key_and_remedy(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        _load(text)
    assert str(caught.value).startswith("otel-ml.yaml")
    assert caught.value.remedy
    assert "s3cret" not in str(caught.value)


def test_variables_override_the_file() -> None:
    settings = _load(
        "enabled: true\nmodels: [{name: a, version: '1', threshold: 0.2}]\nbudget: {per: 7d}",
        OTEL_ML_ENABLED="False",
        OTEL_ML_STATE_DIR="s",
        OTEL_ML_MODEL_NAME="b",
        OTEL_ML_MODEL_VERSION="2.0",
        OTEL_ML_REFERENCE="r.json",
        OTEL_ML_SENSITIVE="sex, race,",
        OTEL_ML_FALSE_INCIDENTS="3/100000rows",
        OTEL_ML_CAPTURE_OFFLINE="1",
        OTEL_ML_CLIENT_HEADERS="x-api-key",
        OTEL_ML_RESPONSE_HEADER="",
        OTEL_ML_MIN_EFFECT="0.1",
        OTEL_ML_LEARN_ROWS="500",
        OTEL_ML_SALT="12",
    )
    here = Path.cwd()
    assert settings == Settings(
        enabled=False,
        state_dir=here / "s",
        models=(
            ModelSettings(
                "b", "2.0", reference=here / "r.json", threshold=0.2, sensitive=("sex", "race")
            ),
        ),
        budget=BudgetSettings(3.0, "100000rows"),
        capture=CaptureSettings(True, ("x-api-key",), response_header=""),
        min_effect=0.1,
        learn_rows=500,
        salt="12",
        source="otel-ml.yaml",
    )


def test_a_count_alone_keeps_the_period() -> None:
    assert _load("budget: {per: 7d}", OTEL_ML_FALSE_INCIDENTS="2").budget == BudgetSettings(2, "7d")


def test_one_model_needs_no_file() -> None:
    assert load({"OTEL_ML_REFERENCE": "r.json"}).models == (
        ModelSettings(reference=Path.cwd() / "r.json"),
    )


def test_empty_variables_count_as_unset() -> None:
    names = {o.env for cls in (Settings, ModelSettings) for _, o in options(cls).values() if o.env}
    assert len(names) > 5
    assert load(dict.fromkeys(names, "")) == Settings()
    assert load({"OTEL_ML_CONFIG_FILE": ""}) == Settings()


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ({"OTEL_ML_ENABLED": "maybe"}, "^OTEL_ML_ENABLED: expected true or false, found maybe"),
        ({"OTEL_ML_MIN_EFFECT": "2"}, "^OTEL_ML_MIN_EFFECT: expected a number between 0 and 0.99"),
        ({"OTEL_ML_LEARN_ROWS": "many"}, "^OTEL_ML_LEARN_ROWS: expected a whole number"),
        ({"OTEL_ML_FALSE_INCIDENTS": "1/month"}, "^OTEL_ML_FALSE_INCIDENTS: expected a number and"),
        ({"OTEL_ML_FALSE_INCIDENTS": "0"}, "^OTEL_ML_FALSE_INCIDENTS: expected a number above 0"),
        ({"OTEL_ML_CLIENT_HEADERS": "a b"}, "^OTEL_ML_CLIENT_HEADERS: expected the name"),
        ({"OTEL_ML_CONFIG_FILE": "nope.yaml"}, r"^nope\.yaml: the configuration file cannot be"),
        ({"OTEL_ML_CONFIG_FILE": "."}, r"^\.: the configuration file cannot be read"),
        ({"OTEL_ML_CONFIG_FILE": "/dev/zero"}, "^/dev/zero: not a regular file"),
        ({"OTEL_ML_CONFIG_FILE": "a\0b"}, "the configuration file cannot be read"),
    ],
)
def test_errors_name_the_variable(env: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(env)


def test_a_pipe_does_not_hold_the_process() -> None:
    os.mkfifo("pipe")
    raised: list[ConfigError] = []

    def read() -> None:
        try:
            load({"OTEL_ML_CONFIG_FILE": "pipe"})
        except ConfigError as error:
            raised.append(error)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    thread.join(30)
    assert not thread.is_alive()
    assert "not a regular file" in str(raised[0])


def test_variables_of_one_model_do_not_go_with_several() -> None:
    with pytest.raises(ConfigError, match=r"^OTEL_ML_MODEL_NAME: it speaks of one .* lists 2"):
        _load("models: [{name: a}, {name: b}]", OTEL_ML_MODEL_NAME="c")


def test_arguments_have_the_shape_of_the_file() -> None:
    values: dict[str, Any] = {
        "models": [{"name": "a", "threshold": 1, "version": 3, "reference": Path("r.json")}],
        "budget": {"per": "24h"},
        "enabled": True,
        "salt": None,
        "state_dir": "${env:A}",
    }
    settings = from_mapping(values, {"OTEL_ML_ENABLED": "false"})
    model = ModelSettings("a", "3", reference=Path.cwd() / "r.json", threshold=1.0)
    assert settings.models == (model,)
    assert settings.budget.per == "24h"
    assert not settings.enabled
    # The declarative file's reader has substituted already; what still looks so is meant so.
    assert settings.state_dir == Path.cwd() / "${env:A}"
    assert settings.source == "OTEL_CONFIG_FILE"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"modles": []}, r"^OTEL_CONFIG_FILE: modles: unknown key; did you mean models\?"),
        ({"models": [{"threshold": 7}]}, r"^OTEL_CONFIG_FILE: models\[0\]\.threshold: expected"),
        ({"models": [{"threshold": "0.5"}]}, r"models\[0\]\.threshold: .* found '0\.5'"),
        ({"models": [{"threshold": float("nan")}]}, r"models\[0\]\.threshold: .* found nan"),
        ({"learn_rows": 10**5000}, r"learn_rows: expected a whole number .* found inf"),
        ({"learn_rows": 100.0}, r"learn_rows: expected a whole number .* found 100\.0"),
        ({"models": {"name": "a"}}, r"models: expected a list, found a mapping"),
    ],
)
def test_arguments_are_checked_like_the_file(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_mapping(values, {})


_KEYS = st.sampled_from([f.name for cls in (Settings, ModelSettings) for f in fields(cls)])
_LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)


@settings(max_examples=150)
@given(
    st.dictionaries(
        _KEYS,
        _LEAVES
        | st.lists(_LEAVES, max_size=3)
        | st.dictionaries(_KEYS, _LEAVES, max_size=3)
        | st.lists(st.dictionaries(_KEYS, _LEAVES, max_size=3), max_size=3),
        max_size=4,
    )
)
def test_any_arguments_are_taken_or_refused(values: dict[str, Any]) -> None:
    message = ""
    try:
        assert isinstance(from_mapping(values, {}), Settings)
    except ConfigError as error:
        message = str(error)
    assert re.match("$|OTEL_CONFIG_FILE: ", message)


@settings(max_examples=100)
@given(st.dictionaries(st.sampled_from(sorted(vars(environment))), st.text(max_size=12)))
def test_any_variables_are_taken_or_refused(env: dict[str, str]) -> None:
    message = ""
    try:
        assert isinstance(load(env), Settings)
    except ConfigError as error:
        message = str(error)
    assert not message or "\n  remedy: " in message


def test_variables_with_a_typing_error_are_pointed_out() -> None:
    assert unknown_variables({"OTEL_ML_REFRENCE": "x", "OTEL_ML_SALT": "x", "OTHER": "x"}) == [
        "OTEL_ML_REFRENCE is not a variable of otel-ml; did you mean OTEL_ML_REFERENCE?"
    ]


def test_every_variable_is_a_constant_and_every_constant_a_variable() -> None:
    classes = (Settings, BudgetSettings, CaptureSettings, ExportSettings, ModelSettings)
    used = {option.env for cls in classes for _, option in options(cls).values() if option.env}
    named = {name: value for name, value in vars(environment).items() if name.startswith("OTEL_")}
    assert set(named) == used | {"OTEL_ML_CONFIG_FILE"}
    assert all(name == value for name, value in named.items())


def test_tasks_are_those_of_the_value_objects() -> None:
    assert get_args(Task) == get_args(otel_ml.types.Task)


def test_every_number_has_bounds() -> None:
    for cls in (Settings, BudgetSettings, CaptureSettings, ExportSettings, ModelSettings):
        for name, (hint, option) in options(cls).items():
            if hint in (int, float) or float in get_args(hint):
                assert option.maximum is not None, name
                assert (option.minimum is None) != (option.above is None), name


def test_a_spool_is_named_by_its_variable_or_beside_the_file(tmp_path: Path) -> None:
    file = tmp_path / "conf" / "ml.yaml"
    file.parent.mkdir()
    file.write_text("export:\n  spool: kept\n  spool_bytes: 2000000\n", encoding="utf-8")
    named = load({"OTEL_ML_CONFIG_FILE": str(file)})
    assert named.export == ExportSettings(file.parent / "kept", 2_000_000)
    changed = load({"OTEL_ML_CONFIG_FILE": str(file), "OTEL_ML_SPOOL_DIR": "elsewhere"})
    assert changed.export == ExportSettings(Path.cwd() / "elsewhere", 2_000_000)
    with pytest.raises(ConfigError, match="spool_bytes"):
        from_mapping({"export": {"spool_bytes": 5}}, {})
