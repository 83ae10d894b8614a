"""Sum up the JUnit reports of a test run in one closing line, after the reasons for skips.

Usage: ``summarize_tests.py REPORTS_DIR RUNNER_STATUS``. Exits with the runner's status: a file that
timed out or crashed leaves no report, and must still fail the run.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree as ET

OUTCOME_OF_TAG = {"failure": "failed", "error": "failed", "skipped": "skipped"}


def main(reports: Path, status: int) -> int:
    """Print the summary; return the exit status for the whole run."""
    counts: Counter[str] = Counter(passed=0, failed=0, skipped=0)
    skip_reasons: Counter[str] = Counter()
    for report in sorted(reports.glob("*.xml")):
        for case in ET.parse(report).iter("testcase"):  # noqa: S314 -- our own runner wrote it
            mark = next((child for child in case if child.tag in OUTCOME_OF_TAG), None)
            counts["passed" if mark is None else OUTCOME_OF_TAG[mark.tag]] += 1
            if mark is not None and mark.tag == "skipped":
                skip_reasons[mark.get("message", "")] += 1
    for reason, times in skip_reasons.items():
        print(f"skipped {times}: {reason}")
    if status and not counts["failed"]:
        counts["failed"] = 1  # something outside any test failed: the runner's output says what
    print(f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped")
    return status


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
