"""Write the reference pages that are made from code.

Usage: ``reference.py DOCS_REFERENCE_DIR``. ``tests/docs`` fails while a page is out of date.
"""

from __future__ import annotations

import sys
from pathlib import Path

from layer_cache.settings import CacheSettings
from layer_gateway.settings import GatewaySettings
from layer_history.settings import HistorySettings
from layer_kit.settings import ServiceSettings, variables
from layer_runtime.settings import RuntimeSettings
from layer_snapshots.settings import SnapshotsSettings
from layer_vectorstore.settings import VectorstoreSettings

SERVICES: tuple[type[ServiceSettings], ...] = (
    GatewaySettings,
    CacheSettings,
    SnapshotsSettings,
    HistorySettings,
    RuntimeSettings,
    VectorstoreSettings,
)

INTRODUCTION = """\
# Configuration

Made by `make docs` from the settings classes; do not edit.

Every service reads its settings once at start. The highest of these wins: the environment variable;
for secrets, the file named by `<NAME>_FILE`; the service's section in the YAML file named by
`LAYER_CONFIG_FILE` (`gateway: {http_address: …}`); the default. A variable with a service's prefix
that is no setting stops the start with exit code 2 and a suggestion. `python -m layer_<service>
--help` prints the same, `--print-config` what is in effect, secrets masked.

Traces are exported when `OTEL_EXPORTER_OTLP_ENDPOINT` is set; the OpenTelemetry SDK's own variables
apply. The flags and variables of `layer up` are in [run locally](../guides/run-locally.md).
"""


def configuration() -> str:
    """Return the page of all settings."""
    parts = [INTRODUCTION]
    for settings in SERVICES:
        parts.append(f"## {settings.service}\n\n{(settings.__doc__ or '').strip()}\n")
        parts.append("| variable | default | meaning |\n|---|---|---|")
        for variable in variables(settings):
            names = ", ".join(f"`{name}`" for name in variable.names)
            default = "" if variable.is_secret else variable.default
            shown = f"`{default}`" if default not in ("", None) else ""
            parts.append(f"| {names} | {shown} | {variable.description} |")
        parts.append("")
    return "\n".join(parts)


PAGES = {"configuration.md": configuration}


def main(directory: Path) -> None:
    """Write every page into ``directory``."""
    for name, page in PAGES.items():
        (directory / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
