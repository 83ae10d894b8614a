"""The document cache: near copies of rows that are never older than an acknowledged write."""
