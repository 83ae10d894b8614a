"""What the committed baseline promises is kept, and every way to break a promise is noticed."""

from __future__ import annotations

from pathlib import Path

from proto_baseline import (
    BASELINE,
    HOW_TO_ACCEPT,
    HOW_TO_RECORD,
    PROTO_ROOT,
    broken,
    promises,
    read,
    unrecorded,
    write,
)
from proto_descriptors import parse

YESTERDAY = """
syntax = "proto3";
package layer.books.v1;

service BooksService {
  rpc GetBook(GetBookRequest) returns (GetBookResponse);
  rpc ReadBook(ReadBookRequest) returns (stream ReadBookResponse);
}
message GetBookRequest { string isbn = 1; }
message GetBookResponse {
  string title = 1;
  int32 page_count = 2;
  repeated string authors = 3;
  optional string subtitle = 4;
  oneof binding { bool is_hard = 5; bool is_soft = 6; }
  map<string, int64> sold_counts = 7;
}
message ReadBookRequest {}
message ReadBookResponse { Genre genre = 1; }
enum Genre { GENRE_UNSPECIFIED = 0; GENRE_FICTION = 1; }
"""
BOOK = "field layer.books.v1.GetBookResponse"


def promised(source: str, folder: Path) -> dict[str, str]:
    path = folder / "layer/books/v1/books.proto"
    path.parent.mkdir(parents=True)
    path.write_text(source)
    return promises(parse(folder))


def broken_by(before: str, after: str, folder: Path) -> list[str]:
    assert before in YESTERDAY
    return broken(
        promised(YESTERDAY, folder / "old"),
        promised(YESTERDAY.replace(before, after), folder / "new"),
    )


def test_no_promise_of_the_baseline_is_broken() -> None:
    found = broken(read(BASELINE), promises(parse(PROTO_ROOT)))
    assert not found, "\n".join([*found, HOW_TO_ACCEPT])


def test_the_baseline_holds_every_promise() -> None:
    found = unrecorded(read(BASELINE), promises(parse(PROTO_ROOT)))
    assert not found, "\n".join([*found, HOW_TO_RECORD])


def test_a_baseline_reads_back_as_it_was_written(tmp_path: Path) -> None:
    found = promised(YESTERDAY, tmp_path)
    write(tmp_path / "baseline.txt", found)
    assert read(tmp_path / "baseline.txt") == found


def test_an_addition_breaks_nothing_and_waits_to_be_recorded(tmp_path: Path) -> None:
    old = promised(YESTERDAY, tmp_path / "old")
    addition = "message ReadBookRequest { int32 page = 1; }"
    new = promised(YESTERDAY.replace("message ReadBookRequest {}", addition), tmp_path / "new")
    assert broken(old, new) == []
    assert unrecorded(old, new) == ["field layer.books.v1.ReadBookRequest/1 is new: “int32 page”"]


def test_a_removed_field_is_noticed(tmp_path: Path) -> None:
    assert broken_by("int32 page_count = 2;", "", tmp_path) == [
        f"{BOOK}/2 was “int32 page_count” and is gone"
    ]


def test_a_renumbered_field_is_noticed(tmp_path: Path) -> None:
    assert broken_by("page_count = 2", "page_count = 8", tmp_path) == [
        f"{BOOK}/2 was “int32 page_count” and is gone"
    ]


def test_a_retyped_field_is_noticed(tmp_path: Path) -> None:
    assert broken_by("int32 page_count", "int64 page_count", tmp_path) == [
        f"{BOOK}/2 was “int32 page_count” and is “int64 page_count”"
    ]


def test_a_renamed_field_is_noticed_since_json_uses_the_name(tmp_path: Path) -> None:
    assert broken_by("page_count", "leaf_count", tmp_path) == [
        f"{BOOK}/2 was “int32 page_count” and is “int32 leaf_count”"
    ]


def test_a_changed_cardinality_is_noticed(tmp_path: Path) -> None:
    single = broken_by("repeated string authors", "string authors", tmp_path / "single")
    implicit = broken_by("optional string subtitle", "string subtitle", tmp_path / "implicit")
    assert single == [f"{BOOK}/3 was “repeated string authors” and is “string authors”"]
    assert implicit == [f"{BOOK}/4 was “optional string subtitle” and is “string subtitle”"]


def test_a_field_that_leaves_its_oneof_is_noticed(tmp_path: Path) -> None:
    found = broken_by("bool is_soft = 6; }", "} bool is_soft = 6;", tmp_path)
    assert found == [f"{BOOK}/6 was “oneof binding bool is_soft” and is “bool is_soft”"]


def test_a_changed_map_is_noticed(tmp_path: Path) -> None:
    found = broken_by("map<string, int64>", "map<string, string>", tmp_path)
    assert len(found) == 1
    assert "SoldCountsEntry/2 was “int64 value” and is “string value”" in found[0]


def test_a_removed_method_is_noticed(tmp_path: Path) -> None:
    method = "rpc ReadBook(ReadBookRequest) returns (stream ReadBookResponse);"
    assert broken_by(method, "", tmp_path) == [
        (
            "method layer.books.v1.BooksService/ReadBook was “layer.books.v1.ReadBookRequest -> "
            "stream layer.books.v1.ReadBookResponse” and is gone"
        )
    ]


def test_a_method_that_stops_streaming_is_noticed(tmp_path: Path) -> None:
    found = broken_by("stream ReadBookResponse", "ReadBookResponse", tmp_path)
    assert len(found) == 1
    assert "BooksService/ReadBook was" in found[0]


def test_a_removed_service_message_or_enum_value_is_noticed(tmp_path: Path) -> None:
    value = broken_by("GENRE_FICTION = 1;", "", tmp_path / "value")
    service = broken_by("service BooksService", "service ShelfService", tmp_path / "service")
    assert value == ["value layer.books.v1.Genre/1 was “GENRE_FICTION” and is gone"]
    assert "service layer.books.v1.BooksService was “service” and is gone" in service
