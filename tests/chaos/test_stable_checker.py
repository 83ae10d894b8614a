"""The oracle of stable reads itself: what it lets pass and what it does not."""

from __future__ import annotations

from tests.chaos.stable_checker import Reading, Seen, StableHistory, Version


def written(
    history: StableHistory, number: int, stamp_ms: int, *, replica: str = "mine", at_ms: int = 0
) -> Version:
    version = history.writing("books", "r1", number, replica)
    history.stamped(version, stamp_ms)
    history.acknowledged(version, now_ms=at_ms or stamp_ms)
    return version


def wrong(
    history: StableHistory,
    watermark_ms: int | None,
    row: Seen | None = None,
    *,
    began: int = 0,
    is_cut: bool = True,
) -> list[str]:
    return history.violations(
        Reading(
            replica="mine",
            namespace="books",
            began=began or history.now(),
            ended=history.now(),
            watermark_ms=watermark_ms,
            is_cut=is_cut,
            rows={} if row is None else {"r1": row},
        )
    )


def test_a_row_is_there_as_it_was_at_the_watermark() -> None:
    history = StableHistory(margin_ms=10)
    written(history, 1, 100)
    written(history, 2, 200)

    assert wrong(history, 250, Seen(number=2, stamp_ms=200)) == []
    assert wrong(history, 250, Seen(number=1, stamp_ms=100))
    assert wrong(history, 250)


def test_no_row_is_stamped_after_the_watermark() -> None:
    history = StableHistory(margin_ms=10)
    written(history, 1, 100)

    assert wrong(history, 99, Seen(number=1, stamp_ms=100))
    assert wrong(history, 99, Seen(number=1, stamp_ms=100), is_cut=False) == []


def test_a_row_that_was_written_again_may_be_missing_or_old() -> None:
    history = StableHistory(margin_ms=10)
    written(history, 1, 100)
    written(history, 2, 200)

    assert wrong(history, 150) == []
    assert wrong(history, 150, Seen(number=1, stamp_ms=100)) == []


def test_a_write_binds_whoever_asks_after_its_acknowledgement() -> None:
    history = StableHistory(margin_ms=10)
    began = history.now()
    written(history, 1, 100)

    assert wrong(history, 150, began=began) == []
    assert wrong(history, 150)


def test_writes_of_others_bind_within_the_margin() -> None:
    history = StableHistory(margin_ms=10)
    written(history, 1, 100, replica="theirs", at_ms=111)

    assert wrong(history, 100) == []
    assert wrong(history, 101)


def test_watermarks_never_go_back() -> None:
    history = StableHistory(margin_ms=10)
    overlapping = history.now()

    assert wrong(history, 100) == []
    assert wrong(history, 100) == []
    assert wrong(history, 99, began=overlapping) == []
    assert wrong(history, 99)
    assert wrong(history, None)


def test_a_clock_that_is_ahead_takes_from_the_margin() -> None:
    """It has told a watermark earlier than it seems, and the write was not there yet."""
    history = StableHistory(margin_ms=10, skew_ms=4)
    written(history, 1, 100)
    written(history, 2, 200, replica="other", at_ms=208)

    assert wrong(history, 201, Seen(number=1, stamp_ms=100)) == []
    assert wrong(history, 202, Seen(number=1, stamp_ms=100))
