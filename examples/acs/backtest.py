"""Backtests on real people, as in docs/backtest.md: in, the compact copy; out, reports and numbers.

    python backtest.py OUTPUT_FOLDER [--page DOC.md] [--image PICTURE.png]

Trains on people of 2015 and asks what would have fired on those of 2016 to 2018; then does the same
where nothing can have changed: half of the people of 2015 against the other half. Writes the tables
that ``otel-ml backtest`` reads, so that its commands can be tried on them. With ``--page`` the
numbers between the marks of a document are written anew, with ``--image`` a picture is taken of the
page with the browser that ``--browser`` names.
"""

from __future__ import annotations

import argparse
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
from features import COLUMNS, LABEL, NUMERIC, read_csv
from numpy.typing import NDArray
from train import DATA, build

import otel_ml.backtest

YEARS = (2016, 2017, 2018)
FLOOR = 0.05
BROKEN_ROW = 4000
ROLES: dict[str, Any] = {
    "score": "p",
    "label": LABEL,
    "ignore": ["year"],
    "sensitive": ["SEX", "RAC1P"],
    "categorical": [name for name in COLUMNS if name not in NUMERIC],
    "false_incidents": "1/100000rows",
    "label_delay": "1000rows",
    "model": "acs-employment",
}
BEGIN, END = "<!-- numbers: examples/acs/backtest.py -->", "<!-- end of numbers -->"


def tables(folder: Path) -> None:
    """Write the scored people: those of 2015 in two halves and as one, and those of each year."""
    people = read_csv(DATA)
    features = np.column_stack([people[name] for name in COLUMNS])
    labels = people[LABEL].astype(np.int64)
    trained = people["year"] == 2015
    scores = np.empty(len(labels))
    # Four models, each of three quarters of 2015: nobody is scored by one that has seen them, and
    # those of later years by any of the same four, so that only people can differ, not the model.
    rng = np.random.default_rng(0)
    quarter = rng.integers(0, 4, len(labels))
    for number in range(4):
        seen = trained & (quarter != number)
        model = build(number).fit(features[seen], labels[seen])
        scores[quarter == number] = model.predict_proba(features[quarter == number])[:, 1]
    columns = {**people, "p": scores.round(6)}
    half = np.flatnonzero(trained)
    parts: dict[str, NDArray[Any]] = {
        "2015": half,
        "2015-first-half": half[: len(half) // 2],
        "2015-second-half": half[len(half) // 2 :],
        **{str(year): np.flatnonzero(people["year"] == year) for year in YEARS},
    }
    for name, rows in parts.items():
        lines = [",".join(columns)]
        lines += [
            ",".join(f"{value:g}" for value in row)
            for row in zip(*(column[rows].tolist() for column in columns.values()), strict=True)
        ]
        (folder / f"{name}.csv").write_text("\n".join(lines) + "\n", encoding="ascii")


def break_age(folder: Path) -> Path:
    """Write people of 2018 whose age comes in months from a row on, scored on their true age."""
    lines = (folder / f"{YEARS[-1]}.csv").read_text(encoding="ascii").splitlines()
    column = lines[0].split(",").index("AGEP")
    for i in range(BROKEN_ROW + 1, len(lines)):
        cells = lines[i].split(",")
        cells[column] = f"{float(cells[column]) * 12:g}"
        lines[i] = ",".join(cells)
    path = folder / f"{YEARS[-1]}-age-in-months.csv"
    path.write_text("\n".join(lines) + "\n", encoding="ascii")
    return path


def numbers(reports: dict[str, dict[str, Any]]) -> str:
    """Return the table of the document."""
    lines = [
        "| data | against | floor | rows | incidents | paged | accuracy, first to last window |"
    ]
    lines.append("|---|---|---|---|---|---|---|")
    for name, report in reports.items():
        data, against, floor = name.split("|")
        accuracy = [one["value"] for one in report["performance"] if one["metric"] == "accuracy"]
        paged = sum(one["paged"] for one in report["incidents"])
        lines.append(
            f"| {data} | {against} | {floor} | {report['rows']:,} | {len(report['incidents'])} | "
            f"{paged} | {accuracy[0]:.1%} to {accuracy[-1]:.1%} |"
        )
    lines.append("")
    for name, report in reports.items():
        data, _, floor = name.split("|")
        for one in report["incidents"]:
            cause = one["causes"][0]["title"] if one["causes"] else "no known cause"
            how = "paged" if one["paged"] else "not paged"
            lines.append(
                f"- {data}, floor {floor}: row {one['opened_row']:,}, {cause}: "
                f"{one['members'][0]['text']} ({how})"
            )
    lines += ["", "Rows until one feature's shift is found at this budget, by arithmetic: "]
    found = next(iter(reports.values()))["budget"]["detectable"]
    shifts = (
        f"{one['shift_sd']:g} sd: {one['rows']:,}" for one in found if one["rows"] is not None
    )
    lines[-1] += ", ".join(shifts) + "."
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path, help="folder for tables and reports")
    parser.add_argument("--page", type=Path, help="document whose numbers are written anew")
    parser.add_argument("--image", type=Path, help="picture of the report to write")
    parser.add_argument("--browser", default="chromium", help="browser that takes the picture")
    arguments = parser.parse_args()
    folder: Path = arguments.output
    folder.mkdir(parents=True, exist_ok=True)
    tables(folder)
    years = [folder / f"{year}.csv" for year in YEARS]
    first, second = folder / "2015-first-half.csv", folder / "2015-second-half.csv"
    runs = {
        "2016 to 2018|2015|0.02": (years, folder / "2015.csv", None, "years"),
        f"2016 to 2018|2015|{FLOOR}": (years, folder / "2015.csv", FLOOR, "years-floor"),
        "2015, second half|its first half|0.02": ([second], first, None, "null"),
        f"2016 to 2018, age in months from row {20_000 + BROKEN_ROW:,}|2015|0.02": (
            [*years[:-1], break_age(folder)],
            folder / "2015.csv",
            None,
            "fault",
        ),
    }
    reports = {}
    for name, (data, reference, floor, stem) in runs.items():
        report = otel_ml.backtest.run(data, reference, min_effect=floor, **ROLES)
        report.save(folder / f"{stem}.html")
        report.save(folder / f"{stem}.json")
        reports[name] = report.to_json()
    text = numbers(reports)
    print(text)
    if arguments.page is not None:
        page = arguments.page.read_text(encoding="utf-8")
        head, tail = page.partition(BEGIN)[0], page.partition(END)[2]
        arguments.page.write_text(f"{head}{BEGIN}\n{text}\n{END}{tail}", encoding="utf-8")
    if arguments.image is not None:
        size, target = "--window-size=1120,1500", arguments.image.resolve()
        command = [arguments.browser, "--headless", "--disable-gpu", "--no-sandbox", size]
        command += ["--hide-scrollbars", f"--screenshot={target}"]
        page = (folder / "fault.html").resolve().as_uri()
        subprocess.run([*command, page], check=True, stderr=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
