"""Directories that belong to one process at a time."""

from __future__ import annotations

from pathlib import Path

import pytest

from layer_kit.configuration import ConfigurationError
from layer_kit.directories import own_directory, sync_folder, try_lock, write_whole


def test_a_directory_is_made_and_belongs_to_who_opened_it_until_he_closes_it(
    tmp_path: Path,
) -> None:
    path = tmp_path / "deep" / "data"
    lock_file = own_directory(path)
    with pytest.raises(ConfigurationError, match=f"data_directory {path} is in use"):
        own_directory(path)
    lock_file.close()
    own_directory(path).close()


def test_a_lock_is_taken_by_one_open_file_alone(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("ab") as first, (tmp_path / "lock").open("ab") as second:
        assert try_lock(first)
        assert not try_lock(second)
        first.close()
        assert try_lock(second)


def test_a_path_that_cannot_be_a_directory_is_named_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigurationError, match=r"spool .*file/data cannot be written: Not a dir"):
        own_directory(tmp_path / "file" / "data", called="spool")


def test_a_file_is_replaced_as_a_whole_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "policies.json"
    for body in (b"first", b"second"):
        write_whole(path, body)
        assert path.read_bytes() == body
    assert [found.name for found in tmp_path.iterdir()] == ["policies.json"]
    sync_folder(tmp_path)
