from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from otel_ml.config.document import MAX_BYTES, from_yaml
from otel_ml.config.tree import MAX_DEPTH, MAX_NODES, Items, Node, Scalar, Table, to_tree
from otel_ml.errors import ConfigError

# Loads in 3 ms; walking what it loads never ends.
ALIAS_BOMB = b"".join(
    [b'a: &a ["x","x","x","x","x","x","x","x","x"]\n']
    + [
        b"%c: &%c [%s]\n" % (name, name, b",".join([b"*%c" % (name - 1)] * 9))
        for name in range(ord("b"), ord("j"))
    ]
)


def _python(node: Node | None) -> object:
    if node is None:
        return None
    if isinstance(node, Scalar):
        return node.text
    if isinstance(node, Items):
        return [_python(child) for child in node.items]
    return {name: _python(child) for name, child in node.entries}


def _refused(data: bytes, message: str, **env: str) -> ConfigError:
    with pytest.raises(ConfigError, match=message) as caught:
        from_yaml(data, "f.yaml", env)
    assert caught.value.remedy
    return caught.value


def _message(data: bytes) -> str:
    try:
        from_yaml(data, "f.yaml", {})
    except ConfigError as error:
        return str(error)
    return "read"


def test_reads_values_as_written_with_their_lines() -> None:
    root = from_yaml(b"a: 1.10\nb:\n  - no\n  - 'x'\n", "f.yaml", {})
    assert isinstance(root, Table)
    (_, first), (_, second) = root.entries
    assert isinstance(first, Scalar)
    assert (first.text, first.plain, first.origin.line) == ("1.10", True, 1)
    assert isinstance(second, Items)
    quoted = second.items[1]
    assert isinstance(quoted, Scalar)
    assert (quoted.text, quoted.plain) == ("x", False)
    assert (quoted.origin.path, quoted.origin.line) == ("b[1]", 4)


def test_an_empty_file_holds_nothing() -> None:
    assert from_yaml(b"", "f.yaml", {}) is None
    assert from_yaml(b"# nothing\n", "f.yaml", {}) is None
    assert from_yaml(b"\xef\xbb\xbfa: b", "f.yaml", {}) is not None


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (ALIAS_BOMB, r"f\.yaml:1: a: anchors are not accepted"),
        (b"a: *x", r"f\.yaml:1: a: aliases are not accepted"),
        (b"a:\n  <<: {b: 1}", r"f\.yaml:2: a\.<<: merge keys are not accepted"),
        (b"a: 1\nb: 2\na: 3", r"f\.yaml:3: a: the key is given twice"),
        (b"a: !!python/object:os.system x", r"f\.yaml:1: a: the tag '.*' is not accepted"),
        (b"a: 1\n---\nb: 2", r"f\.yaml:2: a second document"),
        (b"? [a]\n: b", r"f\.yaml:1: .*a key is a list"),
        (b"a: [1,", r"f\.yaml:1: not valid YAML"),
        (b"a: b: c", r"f\.yaml:1: not valid YAML"),
        (b"\n\n\tx: 1", r"f\.yaml:3: not valid YAML"),
        (b"a: 1\n\xff", r"f\.yaml:2: the file is not UTF-8"),
        (b"a: \x01", r"f\.yaml: not valid YAML"),
        (b'a: "\\UFFFFFFFF"', r"f\.yaml: not valid YAML"),
        (b'a: "\\ud800"', r"f\.yaml:1: a: the text holds a character"),
        (b'"\\0": 1', r"f\.yaml:1: .*the text holds a character"),
        (b"%YAML " + b"1" * 5000 + b".1\n--- a", r"f\.yaml: not valid YAML"),
        (b"[" * 100_000, rf"f\.yaml:1: .*nested deeper than {MAX_DEPTH} levels"),
        (b"{a: " * 100_000, rf"f\.yaml:1: .*nested deeper than {MAX_DEPTH} levels"),
        (b"- " * 100_000, rf"f\.yaml:1: .*nested deeper than {MAX_DEPTH} levels"),
        (b"[" + b"1," * (MAX_NODES + 1) + b"]", rf"f\.yaml:1: .*more than {MAX_NODES} values"),
        (b"#" * (MAX_BYTES + 1), r"f\.yaml: the file is larger than 1048576 bytes"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_refuses(data: bytes, message: str) -> None:
    _refused(data, message)


def test_the_alias_bomb_is_the_one_that_never_ends() -> None:
    # Every level holds nine of the one below, so the last stands for 9**9 texts.
    assert len(ALIAS_BOMB) < 400
    assert len(yaml.safe_load(ALIAS_BOMB)["i"]) == 9


def test_depth_is_accepted_up_to_the_bound() -> None:
    assert from_yaml(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH, "f.yaml", {}) is not None
    _refused(b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), "nested deeper")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${env:A}", "x"),
        ("${A}", "x"),
        ("pre-${env:A}-${env:B:-y}", "pre-x-y"),
        ("${env:EMPTY:-z}", "z"),
        ("${env:B:-}", ""),
        ("$${env:A}", "${env:A}"),
        ("${env:REF}", "${env:A}"),
        ("cost $5", "cost $5"),
    ],
)
def test_variables_are_put_into_values_once(text: str, expected: str) -> None:
    env = {"A": "x", "EMPTY": "", "REF": "${env:A}"}
    assert _python(from_yaml(f"k: '{text}'".encode(), "f.yaml", env)) == {"k": expected}


def test_variables_do_not_make_keys_or_structure() -> None:
    root = from_yaml(b"${env:A}: ${env:A}", "f.yaml", {"A": "[1, 2]"})
    assert _python(root) == {"${env:A}": "[1, 2]"}


def test_a_missing_variable_is_an_error_with_its_place() -> None:
    error = _refused(b"a:\n  b: ${env:NOPE}", r"^f\.yaml:2: a\.b: .*NOPE is not set")
    assert "${env:NOPE:-default}" in error.remedy
    _refused(b"a: ${env:EMPTY}", "EMPTY is not set", EMPTY="")
    _refused(b"a: '${1x}'", r"'\$\{' does not begin a variable")


_plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=20,
)


@settings(max_examples=150)
@given(st.binary(max_size=400))
@example(b"!<" + b"%FF>")
@example(b"a: &\n")
@example(b"? ? ? a")
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    assert _message(data).startswith(("f.yaml", "read"))


@settings(max_examples=150)
@given(st.text(alphabet=" \n\t-:?[]{}&*!|>%@\"'\\$#,ab1<~.", max_size=80))
def test_any_yaml_like_text_is_read_or_refused(text: str) -> None:
    message = _message(text.encode())
    if message != "read":
        assert message.startswith("f.yaml")
        assert "\n" not in message.split("\n  remedy: ", maxsplit=1)[0]
    # What it accepts without a dollar sign is what PyYAML reads, with all scalars as texts.
    elif "$" not in text:
        root = from_yaml(text.encode(), "f.yaml", {})
        assert _python(root) == yaml.load(text, Loader=yaml.BaseLoader)


@settings(max_examples=80)
@given(_plain)
def test_plain_values_become_a_tree_or_are_refused(value: Any) -> None:
    message = ""
    try:
        assert isinstance(to_tree(value, "OTEL_CONFIG_FILE"), Scalar | Items | Table)
    except ConfigError as error:
        message = str(error)
    assert re.match(r"$|OTEL_CONFIG_FILE: .*the text holds a character", message)


def test_values_that_are_not_plain_are_refused() -> None:
    endless: list[object] = []
    endless.append(endless)
    shared: list[object] = ["x"]
    for _ in range(12):
        shared = [shared] * 9
    for value, message in (
        (endless, "nested deeper"),
        (shared, f"more than {MAX_NODES} values"),
        ({"a": {1: 2}}, "a: the key 1 is not a text"),
        ({"a": [object()]}, r"a\[0\]: a object is not accepted"),
        ({"a": b"x"}, "a: a bytes is not accepted"),
    ):
        with pytest.raises(ConfigError, match=f"OTEL_CONFIG_FILE: .*{message}"):
            to_tree(value, "OTEL_CONFIG_FILE")


def test_depth_does_not_end_the_process() -> None:
    code = (
        "from otel_ml.config.document import from_yaml\n"
        "from otel_ml.errors import ConfigError\n"
        "try:\n    from_yaml(b'[' * 1_000_000, 'f', {})\n"
        "except ConfigError as error:\n    print(error.message[-24:])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "deeper than 64 levels" in done.stdout
