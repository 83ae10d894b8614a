"""Snapshots as content, names, policies and jobs: values and pure decisions, without any I/O."""
