"""Memory that is given back is there for the next request."""

from __future__ import annotations

import subprocess
import sys
from typing import Final

import pytest

PROGRAM: Final = """
import resource, sys
from layer_kit.memory import keep_freed_memory

def bodies():
    return [bytes(200_000) for _ in range(32)]

keep_freed_memory()
bodies()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    bodies()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
PAGES_OF_BODIES: Final = 32 * 200_000 // 4096


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator")
def test_bodies_that_come_and_go_fault_no_pages_twice() -> None:
    child = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        check=False,
        text=True,
    )
    assert (child.returncode, child.stderr) == (0, "")
    assert int(child.stdout) < PAGES_OF_BODIES
