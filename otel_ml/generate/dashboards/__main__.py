"""``python -m otel_ml.generate.dashboards``: writes the dashboards, or compares them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from otel_ml.errors import OtelMlError
from otel_ml.generate.dashboards import build


def main(argv: Sequence[str] | None = None) -> int:
    """Write the dashboards into a folder, or compare them with what is there.

    Parameters
    ----------
    argv
        Arguments of the command line.

    Returns
    -------
    int
        0; 1 where ``--check`` found a stale file; 2 where the dashboards cannot be built.
    """
    parser = argparse.ArgumentParser(prog="python -m otel_ml.generate.dashboards")
    parser.add_argument("--out", type=Path, default=Path("dashboards"), help="folder to write to")
    parser.add_argument("--check", action="store_true", help="compare, and write nothing")
    options = parser.parse_args(argv)
    try:
        rendered = build()
    except OtelMlError as error:
        print(error, file=sys.stderr)
        return 2
    stale = False
    for name, text in rendered.items():
        path = options.out / name
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        if options.check:
            stale = True
            print(f"stale: {path}; run python -m otel_ml.generate.dashboards", file=sys.stderr)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path}")
    return int(stale)


if __name__ == "__main__":
    raise SystemExit(main())
