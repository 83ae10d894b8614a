"""Our protos follow the rules, and each rule notices when it is broken."""

from __future__ import annotations

from pathlib import Path

from proto_descriptors import parse
from proto_style import violations

PLACE = "layer/books/v1/books.proto"
FLAWLESS = """
syntax = "proto3";
package layer.books.v1;
import "google/protobuf/timestamp.proto";

// Keeps books.
service BooksService {
  // Lists books.
  rpc ListBooks(ListBooksRequest) returns (ListBooksResponse);
}

// Request of ListBooks.
message ListBooksRequest {
  // Books per page.
  int32 page_size = 1;
  // From the last answer.
  string page_token = 2;
  // Selects books.
  oneof selection {
    // By genre.
    Genre genre = 3;
    // By age.
    int64 age_ms = 4;
  }
}

// Response of ListBooks.
message ListBooksResponse {
  // By title.
  repeated string titles = 1;
  // For the next page.
  string next_page_token = 2;
  // When the list was made.
  google.protobuf.Timestamp create_time = 3;
  // Pages by title.
  map<string, int32> page_counts = 4;
}

// Kind of book.
enum Genre {
  // Not said.
  GENRE_UNSPECIFIED = 0;
  // Made up.
  GENRE_FICTION = 1;
}
"""


def found_after(
    change: tuple[str, str], folder: Path, *, place: str = PLACE, source: str = FLAWLESS
) -> list[str]:
    """Return the violations of the flawless file once ``change`` replaced some of its text."""
    assert change[0] in source
    path = folder / place
    path.parent.mkdir(parents=True)
    path.write_text(source.replace(*change))
    return violations(parse(folder))


def test_our_protos_follow_every_rule() -> None:
    assert violations(parse(Path("proto"))) == []


def test_a_flawless_file_has_no_violations(tmp_path: Path) -> None:
    assert found_after(("", ""), tmp_path) == []


def test_a_service_needs_a_comment(tmp_path: Path) -> None:
    found = found_after(("// Keeps books.", ""), tmp_path)
    assert found == ["layer.books.v1.BooksService: has no comment"]


def test_a_method_needs_a_comment(tmp_path: Path) -> None:
    found = found_after(("// Lists books.", ""), tmp_path)
    assert found == ["layer.books.v1.BooksService.ListBooks: has no comment"]


def test_a_message_needs_a_comment(tmp_path: Path) -> None:
    found = found_after(("// Request of ListBooks.", ""), tmp_path)
    assert found == ["layer.books.v1.ListBooksRequest: has no comment"]


def test_a_field_needs_a_comment(tmp_path: Path) -> None:
    found = found_after(("// By title.", "//"), tmp_path)
    assert found == ["layer.books.v1.ListBooksResponse.titles: has no comment"]


def test_a_oneof_needs_a_comment(tmp_path: Path) -> None:
    found = found_after(("// Selects books.", ""), tmp_path)
    assert found == ["layer.books.v1.ListBooksRequest.selection: has no comment"]


def test_an_enum_and_its_values_need_comments(tmp_path: Path) -> None:
    without_enum = found_after(("// Kind of book.", ""), tmp_path / "enum")
    without_value = found_after(("// Made up.", ""), tmp_path / "value")
    assert without_enum == ["layer.books.v1.Genre: has no comment"]
    assert without_value == ["layer.books.v1.Genre.GENRE_FICTION: has no comment"]


def test_a_package_names_its_version(tmp_path: Path) -> None:
    found = found_after(("package layer.books.v1", "package layer.books"), tmp_path)
    assert f"{PLACE}: package 'layer.books' is not layer.<api>.v<number>" in found


def test_a_file_lies_where_its_package_says(tmp_path: Path) -> None:
    found = found_after(("", ""), tmp_path, place="layer/books/v1/v1.proto")
    assert found == [f"layer/books/v1/v1.proto: package layer.books.v1 belongs into {PLACE}"]


def test_a_service_ends_in_service(tmp_path: Path) -> None:
    found = found_after(("BooksService", "Books"), tmp_path)
    assert found == ["layer.books.v1.Books: a service is named in PascalCase and ends in Service"]


def test_requests_and_responses_are_named_after_their_method(tmp_path: Path) -> None:
    found = found_after(("returns (ListBooksResponse)", "returns (ListBooksRequest)"), tmp_path)
    assert (
        "layer.books.v1.BooksService.ListBooks: its response is not named ListBooksResponse"
        in found
    )


def test_a_listing_is_paged(tmp_path: Path) -> None:
    listing = "layer.books.v1.BooksService.ListBooks: a listing is paged;"
    no_size = found_after(("page_size", "limit"), tmp_path / "size")
    wrong_type = found_after(("int32 page_size", "string page_size"), tmp_path / "type")
    no_token = found_after(("string page_token", "string cursor"), tmp_path / "token")
    no_next = found_after(("next_page_token", "more"), tmp_path / "next")
    assert no_size == wrong_type == [f"{listing} ListBooksRequest lacks int32 page_size"]
    assert no_token == [f"{listing} ListBooksRequest lacks string page_token"]
    assert no_next == [f"{listing} ListBooksResponse lacks string next_page_token"]


def test_unsigned_integers_are_refused(tmp_path: Path) -> None:
    for kind in ("uint32", "uint64", "fixed32", "fixed64"):
        found = found_after(("int64 age_ms", f"{kind} age_ms"), tmp_path / kind)
        assert found == [
            (
                "layer.books.v1.ListBooksRequest.age_ms: "
                "unsigned integers are not used; take int32 or int64"
            )
        ]


def test_a_span_of_time_names_its_unit(tmp_path: Path) -> None:
    found = found_after(("age_ms", "max_age"), tmp_path)
    assert found == [
        (
            "layer.books.v1.ListBooksRequest.max_age: "
            "a span of time ends in its unit, such as _ms or _s"
        )
    ]


def test_a_moment_is_a_timestamp(tmp_path: Path) -> None:
    found = found_after(("google.protobuf.Timestamp create_time", "int64 create_time"), tmp_path)
    assert len(found) == 1
    assert "create_time: a _time is a google.protobuf.Timestamp" in found[0]


def test_names_have_the_case_of_their_kind(tmp_path: Path) -> None:
    field = found_after(("titles", "bookTitles"), tmp_path / "field")
    method = found_after(("rpc ListBooks(", "rpc list_books("), tmp_path / "method")
    assert field == ["layer.books.v1.ListBooksResponse.bookTitles: a field is named in snake_case"]
    assert "layer.books.v1.BooksService.list_books: a method is named in PascalCase" in method


def test_enum_values_start_with_the_name_of_their_enum(tmp_path: Path) -> None:
    found = found_after(("GENRE_FICTION", "FICTION"), tmp_path)
    assert found == ["layer.books.v1.Genre.FICTION: a value starts with GENRE_"]


def test_the_zero_of_an_enum_is_unspecified(tmp_path: Path) -> None:
    found = found_after(("GENRE_UNSPECIFIED", "GENRE_NONE"), tmp_path)
    assert found == ["layer.books.v1.Genre.GENRE_NONE: the value of 0 is GENRE_UNSPECIFIED"]
