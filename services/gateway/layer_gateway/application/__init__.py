"""Use cases of the data plane, over ports alone."""
