"""The settings of this process: file, environment and arguments in, one frozen `Settings` out."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Mapping
from typing import Final

from otel_ml.config.loader import from_mapping, load, unknown_variables
from otel_ml.config.model import BudgetSettings, CaptureSettings, ModelSettings, Settings
from otel_ml.config.units import Period, parse_allowance, parse_count_or_duration, parse_period

__all__ = [
    "BudgetSettings",
    "CaptureSettings",
    "ModelSettings",
    "Period",
    "Settings",
    "active",
    "configure",
    "from_mapping",
    "load",
    "parse_allowance",
    "parse_count_or_duration",
    "parse_period",
    "reset",
]

_logger: Final = logging.getLogger(__name__)
_lock = threading.Lock()
_active: Settings | None = None


def _renew_lock() -> None:
    global _lock
    _lock = threading.Lock()


# A fork while another thread reads the file would leave the child with a lock nobody releases.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


def active() -> Settings:
    """Return the settings in force; they are read when first asked for.

    Returns
    -------
    Settings
        Where the configuration is broken: what the environment alone says, else the defaults,
        with `Settings.config_error` set. The error is logged once.

    Notes
    -----
    Never raises, because it is called inside the application. ``OTEL_ML_ENABLED=false`` holds
    whatever else is broken.
    """
    settings = _active
    return settings if settings is not None else _settle(load, replace=False)


def configure(values: Mapping[str, object] | None = None) -> Settings:
    """Put settings in force, from the declarative file or from keyword arguments.

    Parameters
    ----------
    values
        The file's shape. None or empty: what is already in force stays, else `load` is called.

    Returns
    -------
    Settings
        The settings now in force. Like `active` it never raises; `from_mapping` does.
    """
    if not values:
        return active()
    return _settle(lambda env: from_mapping(values, env), replace=True)


def reset() -> None:
    """Forget the settings in force, so that the next question reads them anew."""
    global _active
    with _lock:
        _active = None


def _settle(read: Callable[[Mapping[str, str]], Settings], *, replace: bool) -> Settings:
    global _active
    with _lock:
        if _active is not None and not replace:
            return _active
        problems = unknown_variables(os.environ) if _active is None else []
        try:
            settings = _active = read(os.environ)
        except Exception as error:  # whatever is wrong with it, the application goes on
            settings = _active = _without_file(str(error))
    # Logged without the lock, since a handler may do anything.
    for problem in problems:
        _logger.warning("%s", problem)
    if settings.config_error is not None:
        _logger.error(
            "The configuration is not used; monitoring goes on without it: %s",
            settings.config_error,
        )
    return settings


def _without_file(problem: str) -> Settings:
    import dataclasses

    variables = {k: v for k, v in os.environ.items() if k.startswith("OTEL_ML_")}
    # With no file named and an empty mapping, only the variables are left to be read.
    try:
        settings = from_mapping({}, variables)
    except Exception as error:  # a variable is broken, too, and only the switch must still work
        _logger.debug("The variables are not used either: %s", error)
        off = variables.get("OTEL_ML_ENABLED", "").strip().lower() in ("false", "0", "no", "off")
        settings = Settings(enabled=not off)
    return dataclasses.replace(settings, config_error=problem, source=None)
