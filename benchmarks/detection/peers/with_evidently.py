"""Evidently's DataDriftPreset: an alarm is a window in which any column is said to drift."""

from __future__ import annotations

import warnings

import common


def prepare(reference: common.Columns) -> common.Test:
    """Return the test against one reference."""
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    numbers = [k for k, v in reference.items() if v.dtype.kind == "f"]
    kinds = DataDefinition(
        numerical_columns=numbers,
        categorical_columns=[k for k in reference if k not in numbers],
    )
    known = Dataset.from_pandas(common.frame(reference), data_definition=kinds)

    def test(window: common.Columns) -> str:
        current = Dataset.from_pandas(common.frame(window), data_definition=kinds)
        done = Report([DataDriftPreset()]).run(current, known).dict()
        worst, column = 0.0, ""
        for metric in done["metrics"]:
            config = metric.get("config", {})
            if "ValueDrift" not in config.get("type", ""):
                continue
            value, limit = float(metric["value"]), float(config["threshold"])
            small = "p_value" in config["method"] or "p_value" in metric["metric_name"]
            excess = (limit / max(value, 1e-12)) if small else value / limit
            if excess > max(worst, 1.0):
                worst, column = excess, config["column"]
        return column

    return test


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    common.main(common.by_window(prepare))
