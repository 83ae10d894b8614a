"""Facet histograms of namespaces over time, their checkpoints and their retention."""
