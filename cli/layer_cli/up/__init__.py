"""The local supervisor: which processes make a system, and how they live and die together."""
