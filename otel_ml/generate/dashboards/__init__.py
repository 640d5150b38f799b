"""The registry in, dashboards for Grafana out, and their queries for whoever wants to run them."""

from __future__ import annotations

import warnings

from otel_ml.errors import ConfigError
from otel_ml.generate.dashboards.queries import (
    TemplateQuery,
    panel_queries,
    panels,
    template_queries,
)

__all__ = ["TemplateQuery", "build", "panel_queries", "panels", "template_queries"]


def build() -> dict[str, str]:
    """Render all dashboards.

    Returns
    -------
    dict of str to str
        Grafana's classic JSON by name of the file.

    Raises
    ------
    ConfigError
        The library that writes Grafana's JSON is not installed.
    """
    from otel_ml.generate.dashboards.model import MODEL
    from otel_ml.generate.dashboards.overview import OVERVIEW

    with warnings.catch_warnings():
        # The library prefers the model that only Grafana 12 and newer can import.
        warnings.filterwarnings("ignore", "Prefer using dashboardv2", DeprecationWarning)
        try:
            from otel_ml.generate.dashboards._render import render
        except ModuleNotFoundError as error:
            if error.name != "grafana_foundation_sdk":
                raise
            raise ConfigError(
                "dashboards need grafana-foundation-sdk, which is not installed",
                remedy="on Python 3.11 or newer, run: pip install 'otel-ml[dashboards]'",
            ) from error
    return {spec.file: render(spec) for spec in (OVERVIEW, MODEL)}
