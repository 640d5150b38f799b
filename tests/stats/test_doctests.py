from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import pkgutil

import pytest

import otel_ml.stats

MODULES = sorted(module.name for module in pkgutil.iter_modules(otel_ml.stats.__path__))


@pytest.mark.parametrize("name", MODULES)
def test_examples_give_what_they_say(name: str) -> None:
    module = importlib.import_module(f"otel_ml.stats.{name}")
    result = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert result.failed == 0
    assert result.attempted > 0 or name in ("_betting", "_counts", "scores")


@pytest.mark.parametrize("name", [name for name in MODULES if not name.startswith("_")])
def test_public_functions_say_what_they_do_when_nothing_changes(name: str) -> None:
    module = importlib.import_module(f"otel_ml.stats.{name}")
    for attribute in module.__all__:
        value = getattr(module, attribute)
        if not inspect.isfunction(value) or value.__module__ != module.__name__:
            continue
        text = inspect.getdoc(value) or ""
        if attribute != "labelled":
            assert "Parameters\n" in text, attribute
            assert "Returns\n" in text, attribute
            assert "Examples\n" in text, attribute


def test_statistics_import_numpy_and_nothing_else() -> None:
    for name in MODULES:
        source = inspect.getsource(importlib.import_module(f"otel_ml.stats.{name}"))
        for node in ast.walk(ast.parse(source)):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            for imported in names:
                top = imported.split(".")[0]
                assert top in {
                    "__future__",
                    "collections",
                    "dataclasses",
                    "functools",
                    "math",
                    "numpy",
                    "otel_ml",
                    "statistics",
                    "typing",
                }, f"{name} imports {imported}"
                if top == "otel_ml":
                    allowed = ("otel_ml.errors", "otel_ml.types", "otel_ml.stats")
                    assert imported.startswith(allowed), f"{name} imports {imported}"
