"""The version, read by the build and by the telemetry scope."""

__version__ = "0.1.0"
