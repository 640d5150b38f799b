"""NannyML's univariate drift at its defaults: an alarm is a chunk in which any column alerts."""

from __future__ import annotations

import warnings

import common


def prepare(reference: common.Columns) -> common.Test:
    """Return the test against one reference."""
    import nannyml

    known = common.frame(reference)
    words = [k for k, v in reference.items() if v.dtype.kind != "f"]
    drift = nannyml.UnivariateDriftCalculator(
        column_names=list(reference), treat_as_categorical=words, chunk_size=common.WINDOW
    ).fit(known)

    def test(window: common.Columns) -> str:
        told = drift.calculate(common.frame(window)).filter(period="analysis").to_df()
        worst, found = 0.0, ""
        for column in reference:
            method = told[column].columns.get_level_values(0)[0]
            row = told[column][method].iloc[-1]
            if row["alert"]:
                limit = row["upper_threshold"]
                excess = float(row["value"]) / max(float(limit or 0.0), 1e-9)
                if excess >= worst:
                    worst, found = excess, column
        return found

    return test


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    common.main(common.by_window(prepare))
