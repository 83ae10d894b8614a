"""The migration."""

from __future__ import annotations

from layer_sdk import udf


@udf()
def split_name(name: str) -> dict[str, str | None]:
    """Return the attributes that replace ``name``; the whole of a name is kept as it was."""
    given, _, family = name.strip().rpartition(" ")
    return {"given_name": given or None, "family_name": family}
