"""Ids, values, vectors and filters of ``layer.common.v1``, and what stands for each in JSON."""
