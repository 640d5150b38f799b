"""Streams with and without faults in, false incidents, delays and culprits of the engine out."""
