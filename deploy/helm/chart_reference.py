# ruff: noqa: INP001 -- a script beside the charts that it describes
"""Writes what follows from the charts' values.yaml: their schemas and the tables of their READMEs.

A value is documented by the line above it that starts with ``# --``, and typed in schema.yaml.
Run ``python deploy/helm/chart_reference.py`` after a change of either; a test fails until then.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

HELM: Final = Path("deploy/helm")
UMBRELLA: Final = HELM / "layer"
SERVICES: Final = ("gateway", "cache", "snapshots", "history", "runtime", "vectorstore")

MARK: Final = "# -- "
KEY: Final = re.compile(r"(?P<indent> *)(?P<key>[A-Za-z-]+):")
TABLE: Final = re.compile(r"(?<=<!-- values -->\n).*(?=<!-- end of values -->)", re.DOTALL)
REFERENCE: Final = re.compile(r'"#/definitions/(\w+)"')

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """A documented entry of a values.yaml."""

    path: tuple[str, ...]
    default: object
    description: str


def documented_values(text: str) -> Iterator[Value]:
    """Yield the entries of a values.yaml that a ``# --`` line describes, in their order."""
    document = yaml.safe_load(text)
    parents: list[tuple[int, str]] = []
    description = None
    for line in text.splitlines():
        if line.strip().startswith(MARK):
            description = line.strip().removeprefix(MARK)
        elif match := KEY.match(line):
            indent = len(match["indent"])
            parents = [parent for parent in parents if parent[0] < indent]
            parents.append((indent, match["key"]))
            if description is not None:
                path = tuple(key for _, key in parents)
                yield Value(path=path, default=_at(document, path), description=description)
            description = None


def readme(chart: Path) -> str:
    """Return the chart's README with the table of its values brought up to date."""
    rows = ["| value | default | meaning |", "| --- | --- | --- |"]
    for value in documented_values((chart / "values.yaml").read_text(encoding="utf-8")):
        default = json.dumps(value.default, ensure_ascii=False)
        meaning = value.description.replace("|", "\\|")
        rows.append(f"| `{'.'.join(value.path)}` | `{default}` | {meaning} |")
    text = (chart / "README.md").read_text(encoding="utf-8")
    return TABLE.sub(lambda _: "\n".join(rows) + "\n", text)


def service_schema(service: str) -> str:
    """Return the schema of a service's chart: the properties that its values.yaml has."""
    source = _schema_source()
    known = source["shared"] | source["charts"].get(service, {})
    values = yaml.safe_load((chart_of(service) / "values.yaml").read_text(encoding="utf-8"))
    properties = {name: known[name] for name in values} | source["added"]
    return _schema(f"Values of the chart {service}", properties, list(values))


def umbrella_schema() -> str:
    """Return the schema of the umbrella, which leaves a service's values to the service's own."""
    enabled = {"enabled": {"type": "boolean"}}
    switch = {"type": "object", "properties": enabled, "required": ["enabled"]}
    properties = {"global": {"$ref": "#/definitions/global"}} | dict.fromkeys(SERVICES, switch)
    return _schema("Values of the chart layer", properties, list(properties))


def generated_files() -> Iterator[tuple[Path, str]]:
    """Yield each file that this module writes, with its content."""
    yield UMBRELLA / "values.schema.json", umbrella_schema()
    yield UMBRELLA / "README.md", readme(UMBRELLA)
    for service in SERVICES:
        yield chart_of(service) / "values.schema.json", service_schema(service)
        yield chart_of(service) / "README.md", readme(chart_of(service))


def chart_of(service: str) -> Path:
    return UMBRELLA / "charts" / service


def _schema(title: str, properties: Json, required: list[str]) -> str:
    schema = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": title,
        "type": "object",
        "additionalProperties": False,
        "required": required,
        "properties": properties,
    }
    definitions = _schema_source()["definitions"]
    used = _definitions_of(properties, definitions)
    schema["definitions"] = {name: definitions[name] for name in sorted(used)}
    return json.dumps(schema, indent=2) + "\n"


def _definitions_of(schema: object, definitions: Json) -> set[str]:
    """Return the names of the definitions that ``schema`` refers to, at any distance."""
    direct = set(REFERENCE.findall(json.dumps(schema)))
    return direct.union(*(_definitions_of(definitions[name], definitions) for name in direct))


def _schema_source() -> Json:
    source: Json = yaml.safe_load((HELM / "schema.yaml").read_text(encoding="utf-8"))
    return source


def _at(document: Any, path: tuple[str, ...]) -> object:
    for key in path:
        document = document[key]
    return document


if __name__ == "__main__":
    for file, content in generated_files():
        file.write_text(content, encoding="utf-8")
