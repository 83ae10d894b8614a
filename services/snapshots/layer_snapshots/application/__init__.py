"""Use cases over ports: one public method is one thing that a caller can want."""
