"""Environment variables of otel-ml: each constant is named like the variable and holds its name.

This module is an ``opentelemetry_environment_variables`` entry point: `opentelemetry-instrument`
makes a command-line flag of every attribute that starts with ``OTEL_``, so nothing else here may.
"""

from __future__ import annotations

OTEL_ML_CONFIG_FILE = "OTEL_ML_CONFIG_FILE"
"""Path of the configuration file; ``./otel-ml.yaml`` where it is not set."""

OTEL_ML_ENABLED = "OTEL_ML_ENABLED"
"""``false`` switches all capturing off, also where the configuration file is broken."""

OTEL_ML_STATE_DIR = "OTEL_ML_STATE_DIR"
"""Private directory for labels, commands and snapshots."""

OTEL_ML_SPOOL_DIR = "OTEL_ML_SPOOL_DIR"
"""Private directory in which telemetry is kept until it is delivered."""

OTEL_ML_PLAYBOOK = "OTEL_ML_PLAYBOOK"
"""Path of a playbook whose causes are added to the built-in ones, or replace them."""

OTEL_ML_MODEL_NAME = "OTEL_ML_MODEL_NAME"
"""Name of the model, where the process serves one."""

OTEL_ML_MODEL_VERSION = "OTEL_ML_MODEL_VERSION"
"""Version of the model, where the process serves one."""

OTEL_ML_REFERENCE = "OTEL_ML_REFERENCE"
"""Path of the reference profile, where the process serves one model."""

OTEL_ML_SENSITIVE = "OTEL_ML_SENSITIVE"
"""Comma-separated columns by which fairness is watched, where the process serves one model."""

OTEL_ML_FALSE_INCIDENTS = "OTEL_ML_FALSE_INCIDENTS"
"""False incidents accepted per model, like ``1/30d`` or ``1/100000rows``."""

OTEL_ML_CAPTURE_OFFLINE = "OTEL_ML_CAPTURE_OFFLINE"
"""``true`` also takes predictions made outside a server's request."""

OTEL_ML_CLIENT_HEADERS = "OTEL_ML_CLIENT_HEADERS"
"""Comma-separated request headers that identify the caller; only a keyed hash is kept."""

OTEL_ML_RESPONSE_HEADER = "OTEL_ML_RESPONSE_HEADER"
"""Response header that tells the caller the prediction id."""

OTEL_ML_FLUSH_ON_SIGTERM = "OTEL_ML_FLUSH_ON_SIGTERM"
"""``true`` exports what is left before SIGTERM or SIGHUP ends the process."""

OTEL_ML_MIN_EFFECT = "OTEL_ML_MIN_EFFECT"
"""Total variation distance below which input drift never alarms."""

OTEL_ML_LEARN_ROWS = "OTEL_ML_LEARN_ROWS"
"""Predictions that become the reference where none is given."""

OTEL_ML_SALT = "OTEL_ML_SALT"
"""Key of the hash by which callers are told apart; give all workers the same."""
