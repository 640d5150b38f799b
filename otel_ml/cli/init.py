"""``otel-ml init``: a table of training data in, a reference and a configuration out."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from otel_ml.backtest.roles import build_reference
from otel_ml.cli._roles import add_roles, roles_of
from otel_ml.config import load, parse_allowance
from otel_ml.errors import ConfigError
from otel_ml.profile import OVERALL, CategoryCells, Reference
from otel_ml.profile.columns import Columns
from otel_ml.profile.frames import read_table
from otel_ml.worker import load_reference

__all__ = ["register", "run"]


def register(subparsers: Any) -> None:
    """Add the verb."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "init",
        help="make a reference and a configuration from training data",
        description="Read a table (parquet or CSV) of training or validation data with the "
        "model's outputs, write its profile (counts, never rows) and a configuration beside it.",
        epilog="Example: otel-ml init --reference valid.parquet --score p --label y "
        "--sensitive sex,race --model churn",
    )
    parser.add_argument(
        "--reference", type=Path, required=True, metavar="FILE", help="parquet or CSV table"
    )
    parser.add_argument("--model", metavar="NAME", help="name of the model (default: FILE's stem)")
    parser.add_argument("--model-version", metavar="V", help="version of the model")
    add_roles(parser)
    parser.add_argument(
        "--false-incidents",
        default="1/30d",
        metavar="N/PERIOD",
        help="false incidents you put up with, such as 1/30d or 1/100000rows (default: 1/30d)",
    )
    parser.add_argument(
        "--out", type=Path, default=Path(), metavar="DIR", help="folder to write to (default: .)"
    )
    parser.add_argument("--force", action="store_true", help="replace files that are there")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write the files."""
    try:
        count, per = parse_allowance(arguments.false_incidents)
    except ConfigError as error:
        raise ConfigError(f"--false-incidents: {error.message}", remedy=error.remedy) from error
    model = arguments.model or arguments.reference.name.lstrip(".").split(".")[0]
    out: Path = arguments.out
    targets = (out / "reference.json", out / "otel-ml.yaml")
    if not out.is_dir():
        raise ConfigError(f"{out}: no such folder", remedy="create it, or choose another --out")
    for target in targets:
        if target.exists() and not arguments.force:
            raise ConfigError(f"{target} is there already", remedy="add --force to replace it")
    roles = roles_of(arguments)
    table = read_table(arguments.reference)
    reference = build_reference(table, roles, model, arguments.model_version)
    _write(reference, _yaml(reference, arguments, count, per), targets)
    _say(reference, table, targets, arguments)
    return 0


def _write(reference: Reference, text: str, targets: tuple[Path, Path]) -> None:
    """Put both files in place, or neither: they are written and read beside it first."""
    with tempfile.TemporaryDirectory(prefix=".otel-ml-init-", dir=targets[0].parent) as folder:
        made = tuple(Path(folder, target.name) for target in targets)
        reference.save(made[0])
        made[1].write_text(text, encoding="utf-8")
        try:
            settings = load({"OTEL_ML_CONFIG_FILE": str(made[1])})
        except ConfigError as error:
            problem = error.message.replace(str(made[1]), str(targets[1]))
            raise ConfigError(
                f"the options make no valid {problem}", remedy=error.remedy
            ) from error
        load_reference(settings.models[0], reference.model_name)
        for target in targets:
            if target.is_dir():
                raise ConfigError(f"{target} is a folder", remedy="choose another --out")
        for source, target in zip(made, targets, strict=True):
            os.replace(source, target)


def _yaml(reference: Reference, arguments: argparse.Namespace, count: float, per: str) -> str:
    import yaml

    entry: dict[str, Any] = {"name": reference.model_name}
    if reference.model_version is not None:
        entry["version"] = reference.model_version
    entry["reference"] = "reference.json"
    if not _assumed(arguments):
        entry["task"] = reference.task
    if reference.task == "binary" and reference.group_layout is not None:
        entry["positive"] = reference.group_layout.classes[1]
        entry["threshold"] = reference.threshold
    for key, names in (
        ("sensitive", arguments.sensitive),
        ("slices", arguments.slice),
        ("ignore", arguments.ignore),
    ):
        if names:
            entry[key] = list(names)
    document = {"models": [entry], "budget": {"false_incidents": count, "per": per}}
    head = "# Written by otel-ml init. Every key: docs/reference/configuration.md\n"
    text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
    return head + text.replace("$", "$$")  # ${…} would be read as a variable


def _assumed(arguments: argparse.Namespace) -> bool:
    """Tell whether nothing says what the model predicts."""
    return not (arguments.task or arguments.score or arguments.prediction or arguments.label)


def _say(
    reference: Reference,
    table: Columns,
    targets: tuple[Path, Path],
    arguments: argparse.Namespace,
) -> None:
    categories = [
        c.name
        for c in reference.layout.sources
        if isinstance(c, CategoryCells) and c.name in reference.features
    ]
    print(f"{table.where}: {table.n} rows, {len(reference.features)} features")
    how = "assumed: no --score, --prediction or --label" if _assumed(arguments) else "inferred"
    print(f"  task            {reference.task}{'' if arguments.task else f'  ({how})'}")
    print(f"  by value        {', '.join(categories) or 'none'}")
    print(f"  by quantile     {len(reference.features) - len(categories)} features")
    if reference.group_layout is not None:
        print(f"  classes         {', '.join(reference.group_layout.classes)}")
        groups = [f"{k}={v}" for k, v in reference.group_layout.names if k != OVERALL]
        print(f"  watched groups  {', '.join(groups) or 'none (--sensitive, --slice)'}")
    if arguments.label is None:
        print("  labels          none (--label): performance has nothing to be compared with")
    elif reference.outcomes is None:
        print("  labels          not compared: nothing says which class was predicted")
    else:
        matrix = reference.outcomes[0]
        print(f"  accuracy        {np.trace(matrix) / max(int(matrix.sum()), 1):.1%}")
    if not arguments.score and reference.task != "regression":
        print("  scores          none (--score): score drift is not watched")
    print(f"wrote {targets[0]} (id {reference.id}) and {targets[1]}")
    print("next: opentelemetry-instrument uvicorn app:app", file=sys.stdout)
