"""Benchmarks: every figure is a ratio to a peer measured in the same run.

The machine is never quiet, so variants take turns round by round and ratios are medians over
rounds. The sturdiest figure is CPU time per request of the process under test.
"""
