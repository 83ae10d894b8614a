from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layer_vectorstore.domain import patterns
from layer_vectorstore.domain.errors import RefusedError, SlowPatternsError
from layer_vectorstore.domain.patterns import contains_within, glob_test, regex_test, with_deadline

ONE_EDIT = {"max_edit_distance": [{"min_query_chars": 6, "distance": 1}]}
LETTERS = st.text(alphabet="abc", max_size=8)


def naive_distance(text: str, query: str) -> int:
    """Return the least edits between ``query`` and any substring: Sellers' table, unoptimised."""
    row = [0] * (len(text) + 1)
    for i, wanted in enumerate(query, start=1):
        above, row = row, [i]
        for j, found in enumerate(text, start=1):
            row.append(min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (wanted != found)))
    return min(row)


@settings(max_examples=500, deadline=None)
@given(LETTERS, LETTERS, st.integers(0, 2))
def test_fuzzy_matching_agrees_with_the_plain_algorithm(
    text: str, query: str, distance: int
) -> None:
    assert contains_within(text, query, distance) == (naive_distance(text, query) <= distance)


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        ("*.py", "a/b.py", True),
        ("*.py", "a.pyc", False),
        ("a?c", "abc", True),
        ("a?c", "ac", False),
        ("[a-c]x", "bx", True),
        ("[!a-c]x", "bx", False),
        ("[]]x", "]x", True),
        ("[^a]", "^", True),
        ("{foo,ba{r,z}}.txt", "baz.txt", True),
        ("{foo,bar}.txt", "qux.txt", False),
        ("a,b", "a,b", True),
        (r"\*", "*", True),
        (r"\*", "a", False),
        ("a.b", "axb", False),
        ("line*", "line\none", True),
        ("", "", True),
        ("é*", "école", True),
        ("**", "a/b", True),
        ("**/*.py", "a.py", True),
        ("**/*.py", "a/b/c.py", True),
        ("**/c.py", "a/bc.py", False),
        ("**/**", "a/b", True),
        ("**/**/c", "c", True),
        ("a/**/c", "a/c", True),
        ("a/**/c", "a/b/b/c", True),
        ("a/**/**/c", "a/c", True),
        ("a/**/c", "a/bc", False),
        ("a/**", "a/b/c", True),
        ("a/**", "a", False),
        ("a/**b", "a/c/b", True),
        ("a**/b", "ac/d/b", True),
        ("{**/a,b/**}", "c/a", True),
        ("{**/a,b/**}", "a", True),
        ("{**/a,b/**}", "b/c", True),
        ("{**/a,b/**}", "b", False),
    ],
)
def test_globs_match_whole_texts(pattern: str, text: str, *, matches: bool) -> None:
    assert glob_test(pattern, case_sensitive=True)(text) is matches


def test_globs_can_ignore_case() -> None:
    assert glob_test("FOO*", case_sensitive=False)("foobar")
    assert not glob_test("FOO*", case_sensitive=True)("foobar")


@pytest.mark.parametrize("pattern", ["[a", "{a", "a}", "\\", "[z-a]"])
def test_broken_globs_are_refused(pattern: str) -> None:
    with pytest.raises(RefusedError, match="glob"):
        glob_test(pattern, case_sensitive=True)


@pytest.mark.parametrize("pattern", ["(", "a{2000}", "(?=a)", r"(a)\1", "x" * 5000])
def test_regular_expressions_that_re2_lacks_are_refused(pattern: str) -> None:
    with pytest.raises(RefusedError, match="💔"):
        regex_test(pattern)


def test_regular_expressions_are_not_anchored_and_never_explode() -> None:
    assert regex_test("b+")("abbc")
    assert regex_test("^(a+)+$")("a" * 50_000 + "b") is False


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (["path", "Glob", "src/*"], [1, 2]),
        (["path", "NotGlob", "src/*"], [3, 4]),
        (["path", "IGlob", "SRC/*.PY"], [1]),
        (["path", "NotIGlob", "SRC/*.PY"], [2, 3, 4]),
        (["path", "Regex", "[.](py|md)$"], [1, 3]),
        (["tags", "Glob", "b*"], [1]),
        (
            [
                "path",
                "Fuzzy",
                "srk/a",
                ONE_EDIT,
            ],
            [],
        ),
        (
            [
                "path",
                "Fuzzy",
                "READMEE",
                ONE_EDIT,
            ],
            [3],
        ),
        (["path", "Fuzzy", "readmee", ONE_EDIT], []),
        (["path", "Fuzzy", "readmee", {**ONE_EDIT, "case_sensitive": False}], [3]),
    ],
)
def test_pattern_filters(store: Any, condition: list[Any], expected: list[int]) -> None:
    options = {"type": "string", "glob": True, "regex": True, "fuzzy": True}
    store.upsert(
        {"id": 1, "path": "src/a.py", "tags": ["x", "bb"]},
        {"id": 2, "path": "src/b.rs", "tags": []},
        {"id": 3, "path": "README.md"},
        {"id": 4},
        schema={"path": options},
    )

    assert store.ids(condition) == expected


def test_patterns_need_their_schema_option(store: Any) -> None:
    store.upsert({"id": 1, "s": "x"})

    assert store.ids(["s", "Glob", "x*"]) == [1]
    for operator in ("Regex", "Fuzzy"):
        with pytest.raises(RefusedError, match="in the attribute's schema"):
            store.ids(["s", operator, "x"])


def test_patterns_are_matched_for_a_bounded_time() -> None:
    moments = iter([100.0, 149.0, 151.0])
    timed = with_deadline(regex_test("b"), lambda: next(moments))

    assert timed("abc")
    with pytest.raises(SlowPatternsError, match="fewer"):
        timed("abc")


def test_a_write_given_up_half_way_has_changed_nothing(
    store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.upsert({"id": 1, "s": "x"}, {"id": 2, "s": "y"})
    before = store.rows()
    monkeypatch.setattr(patterns, "SECONDS_MAX", -1)

    with pytest.raises(SlowPatternsError):
        store.write(
            {
                "delete_by_filter": ["s", "Eq", "x"],
                "patch_rows": [{"id": 2, "s": "z"}],
                "patch_condition": ["s", "Glob", "*"],
                "schema": {"new": "int"},
            }
        )

    assert store.rows() == before
    with pytest.raises(RefusedError, match="attribute not found"):
        store.ids(["new", "Eq", 1])
    store.upsert({"id": 3})
    assert store.rows() == [*before, {"id": 3}]
    store.restart()
    assert store.rows() == [*before, {"id": 3}]
