"""The loader resolves the registry, and refuses each way in which one can be wrong."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from otel_ml.errors import ConfigError
from otel_ml.semconv._registry import HOME, load

MANIFEST = {"name": "t", "schema_url": "https://t.invalid/schemas/1.0.0"}


def attribute(key: str = "ml.a", **more: Any) -> dict[str, Any]:
    base = {"key": key, "type": "int", "stability": "development", "brief": "B."}
    return {**base, **more}


def metric(name: str = "ml.things", **more: Any) -> dict[str, Any]:
    base = {
        "name": name,
        "instrument": "counter",
        "unit": "{thing}",
        "stability": "development",
        "brief": "B.",
        "note": "Q?",
        "attributes": [{"ref": "ml.a", "requirement_level": "required"}],
    }
    return {**base, **more}


def event(**more: Any) -> dict[str, Any]:
    base = {
        "name": "ml.happened",
        "stability": "development",
        "brief": "B.",
        "attributes": [{"ref": "ml.a", "requirement_level": "required"}],
        "annotations": {"otel_ml": {"severity_numbers": {"info": 9}}},
    }
    return {**base, **more}


def write(home: Path, manifest: Any = MANIFEST, **sections: Any) -> Path:
    data = {"file_format": "definition/2", "attributes": [attribute()], "metrics": [metric()]}
    home.joinpath("manifest.yaml").write_text(yaml.safe_dump(manifest))
    home.joinpath("names.yaml").write_text(yaml.safe_dump({**data, **sections}))
    return home


def test_resolves_groups_levels_and_enums() -> None:
    registry = load()
    predictions = registry.metrics["ml.predictions"]
    assert predictions.names() == ("ml.model.name", "ml.model.version", "error.type")
    assert predictions.at_level("required") == ("ml.model.name",)
    assert [ref.condition for ref in predictions.attributes] == ["", "", "If the call failed."]
    assert registry.attributes["error.type"].upstream
    state = registry.attributes["ml.reference.state"]
    assert [member.value for member in state.members] == ["frozen", "learning"]
    assert not state.open
    assert registry.attributes["ml.feature.cell"].open
    assert registry.events["ml.incident"].severity_numbers == {
        "info": 9,
        "warning": 13,
        "critical": 17,
    }


def test_minimal_registry_is_accepted(tmp_path: Path) -> None:
    registry = load(write(tmp_path, events=[event()]))
    assert list(registry.metrics) == ["ml.things"]
    assert registry.schema_url == "https://t.invalid/schemas/1.0.0"


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"file_format": "definition/1"}, "names.yaml: file_format is not 'definition/2'"),
        ({"groups": []}, "names.yaml: unknown section 'groups'"),
        ({"attributes": [attribute(), attribute()]}, r"attributes\[1\] ml.a: .* defined twice"),
        ({"attributes": [attribute(), attribute("error.type")]}, "error.type: .* defined twice"),
        ({"attributes": [attribute(type="text")]}, "ml.a: type 'text' is none of"),
        ({"attributes": [attribute(brief="")]}, "ml.a: 'brief' is missing"),
        ({"attributes": [attribute(stability=None)]}, "ml.a: 'stability' is missing"),
        ({"attributes": [attribute(examlpes=[1])]}, "ml.a: unknown key 'examlpes'"),
        ({"metrics": [metric(), metric()]}, r"metrics\[1\] ml.things: .* defined twice"),
        ({"metrics": [metric(instrument="timer")]}, "ml.things: instrument 'timer' is none of"),
        ({"metrics": [metric(unit=None)]}, "ml.things: 'unit' is missing"),
        ({"metrics": [metric(attributes=[{"ref": "ml.b"}])]}, "ref 'ml.b' is not defined"),
        ({"metrics": [metric(attributes=[{"ref_group": "g"}])]}, "ref_group 'g' is not defined"),
        (
            {"metrics": [metric(attributes=[{"ref": "ml.a"}, {"ref": "ml.a"}])]},
            "attribute 'ml.a' is referred to twice",
        ),
        (
            {"metrics": [metric(attributes=[{"ref": "ml.a", "requirement_level": "must"}])]},
            "requirement_level 'must' of 'ml.a' is none of",
        ),
        (
            {"metrics": [metric(attributes=[{"ref": "ml.a", "requirment_level": "opt_in"}])]},
            "ref ml.a: unknown key 'requirment_level'",
        ),
        ({"events": [event(annotations={})]}, "ml.happened: .*severity_numbers is missing"),
    ],
)
def test_malformed_definition_names_file_and_key(
    tmp_path: Path, sections: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        load(write(tmp_path, **sections))


def enum(*members: tuple[str, str]) -> dict[str, Any]:
    return {
        "members": [
            {"id": i, "value": v, "brief": "B.", "stability": "development"} for i, v in members
        ]
    }


def severity(numbers: dict[str, int], key: str | None = None) -> dict[str, Any]:
    own: dict[str, Any] = {"severity_numbers": numbers}
    if key:
        own["severity_attribute"] = key
    return {"otel_ml": own}


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"metrics": [metric("ml.x.score", instrument="gauge", unit="1")]}, "has to be ratio"),
        ({"metrics": [metric("ml.x_seconds")]}, "repeats its unit or type"),
        ({"metrics": [metric("ml.x.total")]}, "repeats its unit or type"),
        ({"metrics": [metric("ml.x.duration", unit="ms")]}, "has to be a histogram in s"),
        ({"metrics": [metric("ml.x.sizes", instrument="updowncounter")]}, "is plural"),
        ({"metrics": [metric("ml.Things")]}, "is not lower case"),
        ({"metrics": [metric("ml.thing__x")]}, "is not lower case"),
        ({"metrics": [metric("acme.things")]}, "outside the namespace ml"),
        ({"metrics": [metric("ml.x"), metric("ml.x.y")]}, "metric ml.x is also a namespace"),
        ({"metrics": [metric(note="")]}, "does not say in its note which question"),
        ({"attributes": [attribute(), attribute("ml.b")]}, "attribute ml.b is used by no signal"),
        ({"attributes": [attribute(type="string")]}, "ml.a is a string without examples"),
        ({"attributes": [attribute(type=enum(("a", "1"), ("b", "1")))]}, "of the same value"),
        ({"attributes": [attribute(type=enum(("a", "1"), ("a", "2")))]}, "of the same id"),
        ({"attributes": [attribute(type=enum(("A b", "1")))]}, "member 'A b' is not"),
        ({"events": [event(annotations=severity({"info": 25}))]}, "outside 1 to 24"),
        ({"events": [event(annotations=severity({"a": 9, "b": 13}))]}, "no severity_attribute"),
        (
            {"events": [event(annotations=severity({"a": 9}, "ml.b"))]},
            "severity_attribute ml.b is not a required attribute",
        ),
        (
            {"events": [event(annotations=severity({"a": 9}, "ml.a"))]},
            "severity_numbers do not cover the members of ml.a",
        ),
    ],
)
def test_rule_names_the_definition_that_breaks_it(
    tmp_path: Path, sections: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        load(write(tmp_path, **sections))


def test_gauge_of_unit_one_is_allowed_as_ratio(tmp_path: Path) -> None:
    load(write(tmp_path, metrics=[metric("ml.x.ratio", instrument="gauge", unit="1")]))


def test_schema_url_needs_a_version(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not end in a version"):
        load(write(tmp_path, {**MANIFEST, "schema_url": "https://t.invalid/schemas"}))


def test_damaged_file_is_named(tmp_path: Path) -> None:
    shutil.copytree(HOME, tmp_path, dirs_exist_ok=True)
    (tmp_path / "features.yaml").write_text("attributes: [")
    with pytest.raises(ConfigError, match=r"features\.yaml"):
        load(tmp_path)


def test_missing_manifest_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"manifest\.yaml"):
        load(tmp_path)
