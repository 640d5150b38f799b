"""One module per row: each has a function ``measure(quick)`` that returns its lines."""
