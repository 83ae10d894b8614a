"""The data directory of the embedded store: whose it is, and whether its contents are believed."""

from __future__ import annotations

from pathlib import Path

import pytest

from layer_cache.adapters.directory import DataDirectory, distrust_directory
from layer_kit.configuration import ConfigurationError
from layer_kit.errors import UnavailableError


def open_with_a_row(path: Path) -> DataDirectory:
    directory = DataDirectory(path)
    directory.rows.mkdir(exist_ok=True)
    (directory.rows / "row").touch()
    return directory


def test_contents_survive_a_clean_stop_and_a_crash_of_the_process(tmp_path: Path) -> None:
    directory = open_with_a_row(tmp_path)
    directory.close()
    directory = DataDirectory(tmp_path)
    assert (directory.rows / "row").exists()
    directory._lock_file.close()  # what the system does for a process that was killed

    again = DataDirectory(tmp_path)

    assert (again.rows / "row").exists()
    again.close()


@pytest.mark.parametrize("trust", [None, "1 another-boot", "0 closed"])
def test_contents_of_another_boot_or_format_are_thrown_away(
    tmp_path: Path, trust: str | None
) -> None:
    open_with_a_row(tmp_path).close()
    if trust is None:
        (tmp_path / "trust").unlink()
    else:
        (tmp_path / "trust").write_text(trust)

    directory = DataDirectory(tmp_path)

    assert not (directory.rows / "row").exists()
    directory.close()


def test_contents_of_another_backend_are_thrown_away(tmp_path: Path) -> None:
    open_with_a_row(tmp_path).close()
    directory = DataDirectory(tmp_path, backend="sqlite")
    assert not (directory.rows / "row").exists()
    directory.close()
    open_with_a_row(tmp_path).close()

    distrust_directory(tmp_path)

    directory = DataDirectory(tmp_path)
    assert not (directory.rows / "row").exists()
    distrust_directory(tmp_path)
    assert (tmp_path / "trust").exists(), "it is in use"
    directory.close()
    distrust_directory(tmp_path / "absent")


def test_distrusted_contents_are_thrown_away_at_the_next_start(tmp_path: Path) -> None:
    directory = open_with_a_row(tmp_path)
    for _ in range(2):
        directory.distrust("a change was not recorded")
    directory.close()

    directory = DataDirectory(tmp_path)

    assert not (directory.rows / "row").exists()
    directory.close()


def test_distrust_that_cannot_be_recorded_is_an_error(tmp_path: Path) -> None:
    directory = DataDirectory(tmp_path)
    (tmp_path / "trust").unlink()
    (tmp_path / "trust").mkdir()

    with pytest.raises(UnavailableError, match="neither") as caught:
        directory.distrust("a change was not recorded")

    assert caught.value.reason == "STORE_DOWN"
    (tmp_path / "trust").rmdir()
    directory.close()


def test_a_directory_belongs_to_one_process(tmp_path: Path) -> None:
    directory = DataDirectory(tmp_path)
    with pytest.raises(ConfigurationError, match="in use by another process"):
        DataDirectory(tmp_path)
    directory.close()

    DataDirectory(tmp_path).close()


def test_a_directory_that_cannot_be_made_is_a_fault_of_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(ConfigurationError, match="cannot be written"):
        DataDirectory(tmp_path / "file" / "cache")
