"""Handlers, a module per noun: translate a request, call one use case, render its answer.

No rule of the business lives here. Each class names the operations it serves in its ``table``.
"""
