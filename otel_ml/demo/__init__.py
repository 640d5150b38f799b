"""The demo: in, nothing but the installed package; out, a real model watched for two minutes.

A model trained on people of 2015 is served by FastAPI under ``opentelemetry-instrument``, the
people of 2016 to 2018 pass through it with their real labels arriving late, six faults are
injected at known times, and what the telemetry says about each is compared with what was done.
"""

from __future__ import annotations
