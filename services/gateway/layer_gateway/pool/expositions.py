"""The metrics of several processes as those of one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

LEAST: Final = frozenset({"process_start_time_seconds", "layer_cache_session_connected"})
"""Gauges of which the pool's is the least of its workers': it is as old, or as connected."""

GREATEST: Final = frozenset(
    {"python_info", "process_max_fds", "hevlayer_document_cache_cold_start_active"}
)
"""Gauges that are alike in all workers, or say that something is so in one of them."""


def summed(expositions: Iterable[str]) -> bytes:
    """Add up the samples of several expositions, one by one, in the text format.

    Counters and histograms add up; so do gauges, which here count what a process has in hand,
    beside the few that do not.
    """
    heads: dict[str, tuple[str, str]] = {}
    samples: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]] = {}
    for exposition in expositions:
        for family in text_string_to_metric_families(exposition):
            # The parser takes the suffix off a counter's name; the head has to have it.
            name = f"{family.name}_total" if family.type == "counter" else family.name
            heads.setdefault(name, (family.documentation, family.type))
            found = samples.setdefault(name, {})
            for sample in family.samples:
                key = sample.name, tuple(sorted(sample.labels.items()))
                found[key] = _joined(sample.name, found.get(key), sample.value)
    lines: list[str] = []
    for name, (documentation, kind) in heads.items():
        lines += (f"# HELP {name} {_escaped(documentation)}", f"# TYPE {name} {kind}")
        lines += [
            f"{sample}{_labels(labels)} {value!r}"
            for (sample, labels), value in samples[name].items()
        ]
    return "".join(f"{line}\n" for line in lines).encode()


def _joined(name: str, before: float | None, value: float) -> float:
    if before is None:
        return value
    if name in LEAST:
        return min(before, value)
    if name in GREATEST or name.endswith("_created"):
        return max(before, value)
    return before + value


def _labels(labels: tuple[tuple[str, str], ...]) -> str:
    if not labels:
        return ""
    quoted = ",".join(f'{name}="{_escaped(value, quote=True)}"' for name, value in labels)
    return f"{{{quoted}}}"


def _escaped(text: str, *, quote: bool = False) -> str:
    escaped = text.replace("\\", r"\\").replace("\n", r"\n")
    return escaped.replace('"', r"\"") if quote else escaped
