"""``python -m otel_ml.cli``: the command line where no script is installed."""

from __future__ import annotations

import sys

from otel_ml.cli import main

sys.exit(main())
