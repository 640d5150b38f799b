"""Source files in, every departure from the layers and the house rules out.

Nothing is imported: the rules are read off the syntax trees, so imports inside functions and for
type checkers count too. That each rule can fail is shown on small trees with one violation each.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[1] / "otel_ml"

# What a module of the package may import: its own layer and those above it in this list.
LAYERS: Final = {
    "L0 foundations": "_version clock config ending errors frame identity process semconv "
    "stream turns types",
    "L1 statistics": "stats",
    "L2 profile": "profile",
    "L3 monitors, incidents, emission": "emit incidents monitors",
    "L4a engine": "budget checkpoint counting damping engine given labelled learning local pending "
    "plan state waiting",
    "L4b pipeline": "batches bell buffer exporting feeder hosts inbox intake labelling losses "
    "notices pipeline reading references samples samples_events samples_health samples_labels "
    "snapshot stack tally thinning timebox worker",
    "L5 capture, generators": "capture generate",
    "L6 what people run": "_pytest_plugin backtest cli demo selftest testing",
}
LEVEL: Final = {
    module: level for level, names in enumerate(LAYERS.values()) for module in names.split()
}
INDEPENDENT: Final = ({"monitors", "incidents", "emit"}, {"capture", "generate"})

# Imported in the one file that bears their name, below capture.
ML_LIBRARIES: Final = frozenset(
    """
    catboost datasets fastapi flask jax joblib keras lightgbm mlflow onnxruntime pandas polars
    scipy sklearn starlette statsmodels tensorflow torch transformers xgboost
    """.split()  # noqa: SIM905 a list of words is read as one
)
# What they serve is an application: it uses a monitored library as any user does.
APPLICATIONS: Final = frozenset({"selftest/estimator.py"})
TABLE_LIBRARIES: Final = frozenset({"narwhals", "pyarrow"})
READS_TABLES: Final = "profile/frames.py"

TELEMETRY_NAME: Final = re.compile(r"ml\.[a-z_]+(\.[a-z_]*)*")
MODULE_NAME: Final = re.compile(r"otel_ml(\.\w+)+")

MOST_LINES: Final = 300
GENERATED: Final = {f"semconv/{name}.py" for name in ("attributes", "events", "metrics")}
# Longer than they should be. A number may only become smaller, and no file may be added.
TOO_LONG: Final[Mapping[str, int]] = {
    "demo/views.py": 302,
    "engine.py": 357,
}


@dataclass(frozen=True)
class Source:
    """One file: its path below the package, and what it consists of."""

    path: str
    tree: ast.Module
    lines: int

    @property
    def top(self) -> str:
        """The module or package directly below ``otel_ml`` that it belongs to."""
        return self.path.partition("/")[0].removesuffix(".py")

    def imports(self) -> Iterator[tuple[int, str]]:
        """Yield line and full name of everything imported, whole modules and names alike."""
        package = ["otel_ml", *self.path.split("/")[:-1]]
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield node.lineno, alias.name
            elif isinstance(node, ast.ImportFrom):
                above = package[: len(package) - node.level + 1] if node.level else []
                for alias in node.names:
                    yield node.lineno, ".".join([*above, *filter(None, [node.module]), alias.name])
            elif isinstance(node, ast.Call) and _called(node) in ("import_module", "__import__"):
                named = node.args[0] if node.args else None
                if isinstance(named, ast.Constant) and isinstance(named.value, str):
                    yield node.lineno, named.value

    def texts(self) -> Iterator[tuple[int, str]]:
        """Yield line and value of every string literal, those within f-strings too."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.lineno, node.value


Rule = Callable[[Source], Iterator[tuple[int, str]]]


def _called(node: ast.Call) -> str:
    function = node.func
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


@cache
def sources(root: Path) -> tuple[Source, ...]:
    """Parse every file below the package."""
    found = []
    for path in sorted(root.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        relative = path.relative_to(root).as_posix()
        found.append(Source(relative, ast.parse(text), len(text.splitlines())))
    return tuple(found)


def layered(source: Source) -> Iterator[tuple[int, str]]:
    """Imports go downwards, and siblings do not see each other."""
    if source.path == "__init__.py":  # lends its names from every layer, when they are asked for
        return
    if source.top not in LEVEL:
        yield 1, f"{source.top!r} is in no layer: add it to LAYERS in tests/test_layers.py"
        return
    # A module named in a string is one that will be imported under that name.
    named = [
        (line, text)
        for line, text in source.texts()
        if MODULE_NAME.fullmatch(text) and text.split(".")[1] in LEVEL
    ]
    for line, module in dict.fromkeys((*source.imports(), *named)):
        parts = module.split(".")
        if parts[0] != "otel_ml":
            continue
        target = parts[1] if len(parts) > 1 else "*"
        if target not in LEVEL:
            if (ROOT / f"{target}.py").exists() or (ROOT / target).is_dir():
                continue  # it is reported itself, once
            yield line, f"{module} goes through the package itself: import it from where it lives"
        elif LEVEL[target] > LEVEL[source.top]:
            names = list(LAYERS)
            yield (
                line,
                (
                    f"{source.top} ({names[LEVEL[source.top]]}) imports {module} "
                    f"({names[LEVEL[target]]}), which is above it"
                ),
            )
        elif target != source.top and any({target, source.top} <= group for group in INDEPENDENT):
            yield line, f"{source.top} imports {module}: the two do not see each other"


def sdk_free(source: Source) -> Iterator[tuple[int, str]]:
    """Only emission, and the helpers for tests, know the SDK."""
    if source.top in ("emit", "testing"):
        return
    for line, module in source.imports():
        if f"{module}.".startswith("opentelemetry.sdk."):
            yield line, f"{module}: only emit/ and testing.py import the SDK"


def library_free(source: Source) -> Iterator[tuple[int, str]]:
    """A monitored library is imported in its own file of capture, tables in one place."""
    for line, module in source.imports():
        library = module.partition(".")[0]
        own = source.path == f"capture/{library}.py" or source.path in APPLICATIONS
        if library in ML_LIBRARIES and not own:
            yield line, f"{module}: only capture/{library}.py imports {library}"
        if library in TABLE_LIBRARIES and source.path != READS_TABLES:
            yield line, f"{module}: only {READS_TABLES} imports {library}"


def nameless(source: Source) -> Iterator[tuple[int, str]]:
    """Names of telemetry are written in the registry alone."""
    if source.top != "semconv":
        for line, text in source.texts():
            if TELEMETRY_NAME.fullmatch(text):
                yield line, f"{text!r}: use the constant of otel_ml.semconv"


def short_except(allowed: Mapping[str, int]) -> Rule:
    """Return the rule that a file is one idea, with the lines some may have all the same."""

    def short(source: Source) -> Iterator[tuple[int, str]]:
        if source.path in GENERATED:
            return
        most = allowed.get(source.path, MOST_LINES)
        if source.lines > most:
            yield source.lines, f"{source.lines} lines, at most {most} are allowed: divide it"
        elif source.path in allowed and source.lines <= MOST_LINES:
            yield source.lines, "short enough now: remove it from TOO_LONG in tests/test_layers.py"

    return short


RULES: Final[tuple[Rule, ...]] = (layered, sdk_free, library_free, nameless, short_except(TOO_LONG))


def violations(root: Path, rule: Rule) -> list[str]:
    """Return ``path:line: what`` for every violation of a rule below a package."""
    return [
        f"{root.name}/{source.path}:{line}: {what}"
        for source in sources(root)
        for line, what in rule(source)
    ]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule.__name__))
def test_the_rule_holds(rule: Rule) -> None:
    found = violations(ROOT, rule)
    assert not found, "\n".join(found)


def test_the_table_lists_only_what_is_there() -> None:
    there = {path.stem for path in ROOT.glob("*.py")} | {p.parent.name for p in ROOT.glob("*/*.py")}
    assert set(LEVEL) <= there
    assert {path for path in (*TOO_LONG, *GENERATED) if not (ROOT / path).is_file()} == set()
    assert len(LEVEL) == sum(len(names.split()) for names in LAYERS.values())  # each named once


def _package(root: Path, files: Mapping[str, str]) -> Path:
    package = root / "otel_ml"
    for name, text in files.items():
        path = package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return package


WRONG: Final[list[tuple[Rule, str, str, str]]] = [
    (layered, "stats/x.py", "from otel_ml.profile import Reference\n", "which is above it"),
    (layered, "stats/x.py", "import otel_ml.profile.cells\n", "which is above it"),
    (layered, "types.py", "from otel_ml import stats\n", "which is above it"),
    (layered, "profile/x.py", "from ..engine import Engine\n", "which is above it"),
    (layered, "profile/sub/x.py", "from ... import engine\n", "which is above it"),
    (layered, "engine.py", "from otel_ml.pipeline import observe\n", "which is above it"),
    (layered, "state.py", "import otel_ml.worker as w\n", "which is above it"),
    (layered, "worker.py", "from otel_ml.capture import MLInstrumentor\n", "which is above it"),
    (layered, "capture/x.py", "import otel_ml.testing\n", "which is above it"),
    (layered, "config/x.py", "def f():\n    import otel_ml.emit\n", "which is above it"),
    (
        layered,
        "config/x.py",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from otel_ml.emit import Sink\n",
        "which is above it",
    ),
    (layered, "stats/x.py", "import_module('otel_ml.emit')\n", "which is above it"),
    (layered, "stats/x.py", "HOME = {'Sink': 'otel_ml.emit.sink'}\n", "which is above it"),
    (layered, "monitors/x.py", "import otel_ml.emit\n", "do not see each other"),
    (layered, "monitors/x.py", "from otel_ml.incidents import x\n", "do not see each other"),
    (layered, "incidents/x.py", "from otel_ml import monitors\n", "do not see each other"),
    (layered, "emit/x.py", "from otel_ml.monitors.x import y\n", "do not see each other"),
    (layered, "capture/x.py", "from otel_ml.generate import x\n", "do not see each other"),
    (layered, "generate/x.py", "from otel_ml.capture import x\n", "do not see each other"),
    (layered, "capture/x.py", "from otel_ml import Engine\n", "goes through the package"),
    (layered, "capture/x.py", "import otel_ml\n", "goes through the package"),
    (layered, "novelty.py", "", "add it to LAYERS"),
    (layered, "novelty/__init__.py", "", "add it to LAYERS"),
    (sdk_free, "pipeline.py", "import opentelemetry.sdk\n", "only emit/"),
    (sdk_free, "capture/x.py", "def f():\n    from opentelemetry import sdk\n", "only emit/"),
    (sdk_free, "cli/x.py", "from opentelemetry.sdk.metrics import x\n", "only emit/"),
    (sdk_free, "cli/x.py", "importlib.import_module('opentelemetry.sdk.trace')\n", "only emit/"),
    (library_free, "engine.py", "import pandas as pd\n", "only capture/pandas.py"),
    (library_free, "capture/sklearn.py", "import torch.nn\n", "only capture/torch.py"),
    (library_free, "capture/_base.py", "from sklearn import base\n", "only capture/sklearn.py"),
    (library_free, "profile/frames.py", "import polars\n", "only capture/polars.py"),
    (library_free, "selftest/x.py", "import sklearn\n", "only capture/sklearn.py"),
    (library_free, "cli/init.py", "def f():\n    import pyarrow.csv\n", "only profile/frames.py"),
    (library_free, "profile/x.py", "import narwhals as nw\n", "only profile/frames.py"),
    (nameless, "samples.py", "name = 'ml.predictions'\n", "use the constant"),
    (nameless, "samples.py", "name = f'ml.feature.{part}'\n", "use the constant"),
    (nameless, "emit/x.py", "f({'ml.incident.change_row.lower': 1})\n", "use the constant"),
    (short_except({}), "engine.py", "x = 1\n" * 301, "divide it"),
    (short_except({"engine.py": 302}), "engine.py", "x = 1\n" * 303, "at most 302"),
    (short_except({"engine.py": 302}), "engine.py", "x = 1\n" * 300, "remove it from TOO_LONG"),
]
RIGHT: Final[list[tuple[str, str]]] = [
    ("__init__.py", "from otel_ml.engine import Engine\nHOME = 'otel_ml.pipeline'\n"),
    ("types.py", "import numpy\nfrom otel_ml.errors import DataError\n"),
    ("engine.py", "from otel_ml.state import State\nfrom otel_ml import monitors, incidents\n"),
    ("emit/x.py", "from opentelemetry.sdk.resources import Resource\nfrom . import y\n"),
    ("testing.py", "import opentelemetry.sdk.metrics\n"),
    ("capture/x.py", "from opentelemetry import trace\nHOOKED = 'sklearn.base', 'otel_ml.key'\n"),
    ("capture/sklearn.py", "def f():\n    import sklearn.base\n"),
    ("selftest/estimator.py", "from sklearn.linear_model import x\n"),
    ("profile/frames.py", "def f():\n    import narwhals, pyarrow.parquet\n"),
    ("semconv/x.py", "NAME = 'ml.predictions'\n"),
    ("cli/x.py", "'''ml.predictions and otel_ml.engine are said here.'''\nx = 'html.parser'\n"),
    ("stats/x.py", "x = 1\n" * 300),
    ("semconv/metrics.py", "x = 1\n" * 301),
]


@pytest.mark.parametrize(("rule", "path", "text", "said"), WRONG)
def test_a_violation_is_found_where_it_is(
    tmp_path: Path, rule: Rule, path: str, text: str, said: str
) -> None:
    (found,) = violations(_package(tmp_path, {path: text}), rule)
    last = len(text.splitlines()) or 1
    assert found.startswith(f"otel_ml/{path}:{last}: ")
    assert said in found


@pytest.mark.parametrize(
    "rule", [layered, sdk_free, library_free, nameless, short_except({"stats/y.py": 301})]
)
def test_what_is_right_is_left_alone(tmp_path: Path, rule: Rule) -> None:
    files = {**dict(RIGHT), "stats/y.py": "x = 1\n" * 301}
    assert violations(_package(tmp_path, files), rule) == []
