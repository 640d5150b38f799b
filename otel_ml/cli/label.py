"""``otel-ml label``: true labels in, a line per label in the state directory out."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from otel_ml.config import load
from otel_ml.errors import ConfigError, DataError
from otel_ml.inbox import LabelLine, append_labels
from otel_ml.profile.frames import read_table
from otel_ml.profile.values import category_key

__all__ = ["register", "run"]


def register(subparsers: Any) -> None:
    """Add the verb."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "label",
        help="report true labels of earlier predictions",
        description="Report true labels, one or a table of them. Every worker that shares the "
        "state directory takes those of its own predictions.",
        epilog="Examples: otel-ml label 0192f3c5a1b27e90 1; "
        "otel-ml label --file labels.csv --id prediction_id --label outcome",
    )
    parser.add_argument("pair", nargs="*", metavar="ID LABEL", help="a prediction id and its label")
    parser.add_argument("--file", type=Path, metavar="FILE", help="parquet or CSV table of labels")
    parser.add_argument("--id", default="id", metavar="COLUMN", help="its id column (default: id)")
    parser.add_argument(
        "--label", default="label", metavar="COLUMN", help="its label column (default: label)"
    )
    parser.add_argument("--model", metavar="NAME", help="name of the model (default: any)")
    parser.add_argument(
        "--state",
        type=Path,
        metavar="DIR",
        help="state directory (default: state_dir of the configuration, OTEL_ML_STATE_DIR)",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Append the labels."""
    state = arguments.state or load(os.environ).state_dir
    if state is None:
        raise ConfigError(
            "no state directory is known",
            remedy="give --state DIR, or set OTEL_ML_STATE_DIR to what the server has",
        )
    if bool(arguments.pair) == (arguments.file is not None):
        problem = "both pairs and --file are given" if arguments.pair else "nothing to report"
        raise DataError(problem, remedy="give either ID LABEL pairs or --file FILE")
    if arguments.file is not None:
        table = read_table(arguments.file)
        ids = table.require(arguments.id, "--id").tolist()
        labels = table.require(arguments.label, "--label").tolist()
        keys = [(category_key(i), category_key(v)) for i, v in zip(ids, labels, strict=True)]
        # An empty text field of a CSV file is a text without characters, not a missing one.
        lines = [LabelLine(arguments.model, i, v) for i, v in keys if i and v]
        if len(lines) < len(keys):
            print(f"{len(keys) - len(lines)} rows without id or label are left out")
    else:
        if len(arguments.pair) % 2:
            raise DataError(
                f"{len(arguments.pair)} words are no pairs", remedy="give ID LABEL, ID LABEL, …"
            )
        if not all(arguments.pair):
            raise DataError("an id or a label is empty", remedy="give ID LABEL, ID LABEL, …")
        lines = [
            LabelLine(arguments.model, i, v)
            for i, v in zip(arguments.pair[::2], arguments.pair[1::2], strict=True)
        ]
    append_labels(state, lines)
    print(f"{len(lines)} labels reported to {state}")
    return 0
