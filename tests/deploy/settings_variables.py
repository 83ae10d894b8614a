"""Finds the environment variables of the services by reading their settings classes as text.

The charts are tested apart from the services' own packages, so the classes cannot be imported.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Final

KIT_SETTINGS: Final = Path("libs/kit/layer_kit/settings.py")
OBJECT_SETTINGS: Final = Path("libs/objects/layer_objects/settings.py")
CONFIG_FILE_VARIABLE: Final = "LAYER_CONFIG_FILE"


def known_variables(service: str) -> set[str]:
    """Return every variable that the service accepts, with the ``_FILE`` form of its secrets."""
    own = Path(f"services/{service}/layer_{service}/settings.py")
    names = {CONFIG_FILE_VARIABLE}
    classes = [(KIT_SETTINGS, "ServiceSettings"), (own, "Settings")]
    if "ObjectStoreSettings" in own.read_text(encoding="utf-8"):
        classes.append((OBJECT_SETTINGS, "ObjectStoreSettings"))
    for path, class_suffix in classes:
        for field, annotation in _fields(path, class_suffix):
            name = f"LAYER_{service.upper()}_{field.upper()}"
            names.add(name)
            if "SecretStr" in annotation:
                names.add(f"{name}_FILE")
    return names


def _fields(path: Path, class_suffix: str) -> list[tuple[str, str]]:
    """Return name and annotation of the fields of the settings classes in a module."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [
        (statement.target.id, ast.unparse(statement.annotation))
        for node in tree.body
        if isinstance(node, ast.ClassDef) and node.name.endswith(class_suffix)
        for statement in node.body
        if isinstance(statement, ast.AnnAssign)
        and isinstance(statement.target, ast.Name)
        and "ClassVar" not in ast.unparse(statement.annotation)
    ]
