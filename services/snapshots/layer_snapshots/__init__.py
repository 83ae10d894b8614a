"""Facet histograms of namespaces over time: the API is declared, its calls are not offered yet."""
