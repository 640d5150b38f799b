"""A reference file that cannot be used says which file, why, and what to do; nothing is changed."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otel_ml.errors import ReferenceError
from otel_ml.profile import Reference, io


def _reference(rows: int = 500) -> Reference:
    rng = np.random.default_rng(0)
    return Reference.build(
        {"x": rng.normal(size=rows), "c": rng.choice(["a", "b"], rows)},
        scores=rng.random(rows),
        labels=rng.integers(0, 2, rows),
        sensitive=["c"],
        sensitivity={"x": 0.25},
        model_name="m",
        model_version="2",
    )


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "reference.json"
    _reference().save(path)
    return path


def test_what_is_saved_is_loaded_and_has_the_same_checksum(saved: Path) -> None:
    reference, again = _reference(), Reference.load(saved)
    assert again.sha256 == reference.sha256
    assert again.id == again.sha256[:12]
    assert again.to_json() == reference.to_json()
    assert again.layout == reference.layout
    assert json.loads(saved.read_text())["sha256"] == reference.sha256


def test_the_checksum_is_that_of_the_canonical_form() -> None:
    a, b = {"x": 1, "y": [0.5, "é"]}, {"y": [0.5, "é"], "x": 1}
    assert io.checksum(a) == io.checksum(b)
    assert io.checksum(a) != io.checksum({"x": 1, "y": [0.5, "e"]})


def _edit(change: Callable[[dict[str, Any]], object], *, sign: bool) -> Callable[[Path], None]:
    def apply(path: Path) -> None:
        document = json.loads(path.read_text())
        change(document)
        if sign:
            body = {k: v for k, v in document.items() if k not in ("format", "sha256")}
            document["sha256"] = io.checksum(body)
        path.write_text(json.dumps(document))

    return apply


def _unlink(path: Path) -> None:
    path.unlink()


def _directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _dangling(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.parent / "nowhere")


def _loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


_BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (_unlink, "No such file"),
    "directory": (_directory, "not a file"),
    "pipe": (_pipe, "not a file"),
    "dangling link": (_dangling, "No such file"),
    "link to itself": (_loop, "symbolic links"),
    "empty": (lambda p: p.write_bytes(b""), "not a reference file"),
    "no JSON": (lambda p: p.write_text("PAR1 hello"), "not a reference file"),
    "no UTF-8": (lambda p: p.write_bytes(b'{"format": "\xff\xfe"}'), "not a reference file"),
    "too deep": (lambda p: p.write_text("[" * 200_000), "not a reference file"),
    "a list": (lambda p: p.write_text("[1, 2]"), "no `format` key"),
    "another document": (lambda p: p.write_text('{"a": 1}'), "no `format` key"),
    "truncated": (lambda p: p.write_bytes(p.read_bytes()[:-200]), "not a reference file"),
    "newer": (_edit(lambda d: d.update(format="otel-ml/reference/9"), sign=True), "reference/9"),
    "edited": (_edit(lambda d: d["sensitivity"].update(x=9.0), sign=False), "does not match"),
    "a NaN": (_edit(lambda d: d.update(threshold=float("nan")), sign=False), "malformed"),
    "no checksum": (_edit(lambda d: d.pop("sha256"), sign=False), "does not match"),
    "a key less": (_edit(lambda d: d.pop("cells"), sign=True), "'cells'"),
    "counts less": (_edit(lambda d: d["profile"]["counts"].pop("x"), sign=True), "'x'"),
    "a cell less": (_edit(lambda d: d["profile"]["counts"]["x"].pop(), sign=True), "'x'"),
    "wrong kind": (_edit(lambda d: d.update(profile=[1]), sign=True), "malformed"),
    "wrong outcomes": (_edit(lambda d: d["outcomes"].pop(), sign=True), "malformed"),
}


@pytest.mark.parametrize("name", _BROKEN)
def test_a_file_that_cannot_be_used_is_named_with_a_remedy(name: str, saved: Path) -> None:
    damage, says = _BROKEN[name]
    damage(saved)
    before = sorted(p.name for p in saved.parent.iterdir())
    with pytest.raises(ReferenceError) as caught:
        Reference.load(saved)
    assert str(saved) in caught.value.message
    assert says in caught.value.message
    assert caught.value.remedy
    assert sorted(p.name for p in saved.parent.iterdir()) == before


_WHOLE = (
    json.dumps({"format": io.FORMAT, "sha256": _reference().sha256, **_reference().to_json()})
).encode()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(_WHOLE) - 1), st.integers(1, 255))
def test_no_flipped_byte_is_taken_for_the_reference(
    tmp_path_factory: pytest.TempPathFactory, at: int, flip: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "flipped.json"
    damaged = bytearray(_WHOLE)
    damaged[at] ^= flip
    path.write_bytes(bytes(damaged))
    with contextlib.suppress(ReferenceError):
        # white space for white space, or a digit written differently
        assert Reference.load(path).sha256 == _reference().sha256


def test_a_link_to_a_reference_is_followed_to_read_and_replaced_to_write(
    saved: Path, tmp_path: Path
) -> None:
    link = tmp_path / "link.json"
    link.symlink_to(saved)
    before = saved.read_bytes()
    assert Reference.load(link).id == _reference().id
    _reference(700).save(link)
    assert saved.read_bytes() == before
    assert not link.is_symlink()
    assert Reference.load(link).rows("x") == 700


def test_an_older_file_is_whole_when_writing_fails(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = saved.read_bytes()
    for call in ("fsync", "replace"):

        def full(*arguments: object) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patched:
            patched.setattr(os, call, full)
            with pytest.raises(ReferenceError, match="No space left") as caught:
                _reference(700).save(saved)
        assert str(saved) in caught.value.message
        assert saved.read_bytes() == before
        assert [p.name for p in saved.parent.iterdir()] == [saved.name]


def test_a_folder_that_is_missing_or_a_target_that_is_one_is_named(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    target.mkdir()
    for path in (target, tmp_path / "missing" / "r.json"):
        with pytest.raises(ReferenceError, match="cannot write") as caught:
            _reference().save(path)
        assert str(path) in caught.value.message
        assert caught.value.remedy
    assert list(target.iterdir()) == []
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]


def test_a_file_beyond_the_limit_is_not_read(saved: Path) -> None:
    with saved.open("r+b") as handle:
        handle.truncate(256 * 1024 * 1024 + 1)  # sparse: takes no room
    with pytest.raises(ReferenceError, match="larger than"):
        Reference.load(saved)
