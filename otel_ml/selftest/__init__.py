"""The self-test: in, this installation; out, what a model server went through with otel-ml in it.

A throw-away model server is started twice on the loopback interface, with and without otel-ml. Both
are sent the same requests while one fault after another is let loose, and what must hold after any
fault is checked: the same answers, no error, exact counts, bounded memory, a message, recovery.
"""

from __future__ import annotations
