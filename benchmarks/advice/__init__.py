"""Faults injected into three data sets in, how often their cause is named out."""
