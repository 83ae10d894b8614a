"""Pipelines and functions: the API is declared, its calls are not offered yet."""
