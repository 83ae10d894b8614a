from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import Field, SecretStr

from layer_kit.configuration import ConfigurationError
from layer_kit.settings import ServiceSettings, contract_name, load_settings, variables


class ShelfSettings(ServiceSettings):
    """Settings of a service that does not exist."""

    service: ClassVar[str] = "shelf"

    books_count_max: int = Field(100, gt=0, description="Books on the shelf.")
    bucket: str = Field(
        "wal", validation_alias=contract_name("S3_BUCKET", field="bucket"), description="Where."
    )
    api_key: SecretStr | None = Field(
        None,
        validation_alias=contract_name("SHELF_API_KEY", field="api_key"),
        description="Opens the shelf.",
    )


def refusal(environment: dict[str, str]) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(ShelfSettings, environment)
    return str(caught.value)


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def test_an_empty_environment_gives_the_defaults() -> None:
    settings = load_settings(ShelfSettings, {})
    assert (settings.books_count_max, settings.bucket, settings.api_key) == (100, "wal", None)
    assert settings.shutdown_grace_s == 10


def test_a_variable_sets_its_field() -> None:
    environment = {"LAYER_SHELF_BOOKS_COUNT_MAX": "7", "LAYER_SHELF_OPS_ADDRESS": ":9"}
    settings = load_settings(ShelfSettings, environment)
    assert (settings.books_count_max, settings.ops_address) == (7, ":9")


def test_a_name_of_the_contract_sets_its_field_and_yields_to_our_own() -> None:
    contract = {"S3_BUCKET": "theirs"}
    assert load_settings(ShelfSettings, contract).bucket == "theirs"
    assert load_settings(ShelfSettings, contract | {"LAYER_SHELF_BUCKET": "ours"}).bucket == "ours"


def test_settings_cannot_be_changed() -> None:
    settings = load_settings(ShelfSettings, {})
    with pytest.raises(ValueError, match="frozen"):
        settings.books_count_max = 1  # type: ignore[misc]


def test_a_misspelt_variable_stops_the_start_with_a_suggestion() -> None:
    message = refusal({"LAYER_SHELF_BOKS_COUNT_MAX": "7"})
    assert message == (
        "LAYER_SHELF_BOKS_COUNT_MAX is not a setting; did you mean LAYER_SHELF_BOOKS_COUNT_MAX?"
    )


def test_variables_of_other_services_are_nobodys_business() -> None:
    load_settings(ShelfSettings, {"LAYER_CACHE_NONSENSE": "1", "SHELF": "2"})


def test_what_clients_of_the_gateway_read_may_stand_in_the_same_environment() -> None:
    class GatewaySettings(ServiceSettings):
        service: ClassVar[str] = "gateway"

    names = ("LAYER_GATEWAY_API_KEY", "LAYER_GATEWAY_URL")
    assert load_settings(GatewaySettings, dict.fromkeys(names, "x")) == GatewaySettings()


@pytest.mark.parametrize("value", ["0", "many", ""])
def test_a_bad_value_names_its_variable(value: str) -> None:
    assert refusal({"LAYER_SHELF_BOOKS_COUNT_MAX": value}).startswith(
        "LAYER_SHELF_BOOKS_COUNT_MAX: Input should be"
    )


def test_a_bad_value_under_a_name_of_the_contract_names_our_variable() -> None:
    class Strict(ShelfSettings):
        bucket: str = Field(
            "wal", min_length=3, validation_alias=contract_name("S3_BUCKET", field="bucket")
        )

    with pytest.raises(ConfigurationError, match=r"^LAYER_SHELF_BUCKET: String should have"):
        load_settings(Strict, {"S3_BUCKET": "ab"})


def test_a_bad_secret_is_not_repeated() -> None:
    class Strict(ShelfSettings):
        api_key: SecretStr | None = Field(None, min_length=20)

    with pytest.raises(ConfigurationError) as caught:
        load_settings(Strict, {"LAYER_SHELF_API_KEY": "hunter2"})
    assert "LAYER_SHELF_API_KEY" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_secret_is_read_from_a_file_without_its_line_end(tmp_path: Path) -> None:
    path = write(tmp_path / "key", "hunter2\n")
    for name in ("LAYER_SHELF_API_KEY_FILE", "SHELF_API_KEY_FILE"):
        settings = load_settings(ShelfSettings, {name: path})
        assert settings.api_key is not None
        assert settings.api_key.get_secret_value() == "hunter2"
        assert "hunter2" not in repr(settings)


def test_only_secrets_are_read_from_files(tmp_path: Path) -> None:
    path = write(tmp_path / "bucket", "books")
    assert "LAYER_SHELF_BUCKET_FILE is not a setting" in refusal({"LAYER_SHELF_BUCKET_FILE": path})


def test_a_missing_secret_file_names_its_variable(tmp_path: Path) -> None:
    path = tmp_path / "none"
    message = refusal({"LAYER_SHELF_API_KEY_FILE": str(path)})
    assert message == f"LAYER_SHELF_API_KEY_FILE: cannot read {path}: No such file or directory"


def test_a_file_sets_the_fields_of_its_service(tmp_path: Path) -> None:
    text = "shelf:\n  books_count_max: 5\n  bucket: books\ncache:\n  anything: 1\n"
    path = write(tmp_path / "layer.yaml", text)
    settings = load_settings(ShelfSettings, {"LAYER_CONFIG_FILE": path})
    assert (settings.books_count_max, settings.bucket) == (5, "books")


def test_variables_win_over_secret_files_over_the_file_over_defaults(tmp_path: Path) -> None:
    environment = {
        "LAYER_CONFIG_FILE": write(
            tmp_path / "layer.yaml", "shelf: {api_key: file, bucket: file, books_count_max: 5}"
        )
    }
    secret = {"LAYER_SHELF_API_KEY_FILE": write(tmp_path / "key", "secret file")}
    variable = {"LAYER_SHELF_API_KEY": "variable", "S3_BUCKET": "variable"}

    def effective(environment: dict[str, str]) -> tuple[str, str, int]:
        settings = load_settings(ShelfSettings, environment)
        assert settings.api_key is not None
        return settings.api_key.get_secret_value(), settings.bucket, settings.books_count_max

    assert effective(environment) == ("file", "file", 5)
    assert effective(environment | secret) == ("secret file", "file", 5)
    assert effective(environment | secret | variable) == ("variable", "variable", 5)


def test_a_misspelt_key_of_the_file_stops_the_start_with_a_suggestion(tmp_path: Path) -> None:
    path = write(tmp_path / "layer.yaml", "shelf: {buckt: books}")
    assert refusal({"LAYER_CONFIG_FILE": path}) == (
        f"LAYER_CONFIG_FILE: {path}: shelf.buckt is not a setting; did you mean bucket?"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("shelf: [", "is not YAML"),
        ("- shelf", "must map service names to maps"),
        ("shelf: 3", "must map service names to maps"),
    ],
    ids=["broken", "a list", "no map"],
)
def test_an_unreadable_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path / "layer.yaml", text)
    found = refusal({"LAYER_CONFIG_FILE": path})
    assert found.startswith("LAYER_CONFIG_FILE: ")
    assert message in found
    assert "\n" not in found


def test_a_file_that_is_not_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"\xff\xfe")
    message = refusal({"LAYER_SHELF_API_KEY_FILE": str(path)})
    assert message == f"LAYER_SHELF_API_KEY_FILE: cannot read {path}: not UTF-8"


@pytest.mark.parametrize("text", ["", "cache: {}", "shelf:"], ids=["empty", "other", "no section"])
def test_a_file_may_say_nothing(tmp_path: Path, text: str) -> None:
    path = write(tmp_path / "layer.yaml", text)
    assert load_settings(ShelfSettings, {"LAYER_CONFIG_FILE": path}).bucket == "wal"


def test_variables_are_listed_with_their_names_defaults_and_meanings() -> None:
    listed = {variable.field: variable for variable in variables(ShelfSettings)}
    assert listed["bucket"].names == ["LAYER_SHELF_BUCKET", "S3_BUCKET"]
    assert (listed["bucket"].default, listed["bucket"].description) == ("wal", "Where.")
    assert listed["api_key"].file_names == ["LAYER_SHELF_API_KEY_FILE", "SHELF_API_KEY_FILE"]
    assert [variable.field for variable in variables(ShelfSettings)][-1] == "api_key"
