"""What all tests share: an example of hypothesis may take as long as a busy machine makes it."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("otel-ml", deadline=None)
settings.load_profile("otel-ml")
