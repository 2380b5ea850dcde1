"""A row's history and its cause of failure."""

from datetime import UTC, datetime

from imageflow.model.imageset import Image, digest
from imageflow.model.messages import MAX_MESSAGE_BYTES, RowsReady, chunked, encode
from imageflow.model.row import MAX_TRIES, MAX_TRY_CHARS, Row, RowLog, Try, digest_of, fingerprint, history, tried

NOW = datetime(2026, 3, 29, tzinfo=UTC)


def failed(reason: str, product: str | None = "SKU-1", **fields) -> RowLog:
    return RowLog(run_id="r", row=1, product=product, state="failed", reason=reason, **{"http_status": 400, **fields})


def same(*logs: RowLog) -> bool:
    return len({fingerprint(log) for log in logs}) == 1


def test_one_cause_whatever_the_row():
    """The product, URLs, quoted texts, numbers and ids do not part failures of one cause."""
    assert same(
        failed("product AB-C7 is unknown", "AB-C7"),
        failed("product DRESS is unknown", "DRESS"),
        failed("product 12 is unknown", "12"),
    )
    assert same(
        failed("images[1].url: 'https://a.example/1.jpg' is no URL; images[2].url: 'x' is no URL"),
        failed("images[7].url: 'https://b.example/2.jpg' is no URL; images[0].url: 'y' is no URL"),
    )
    assert same(
        failed("request 3f2a9c1e-0b7d-4c55-9d21-a0b1c2d3e4f5 failed"),
        failed("request 00aa11bb-ffff-4c55-9d21-a0b1c2d3e4f6 failed"),
    )


def test_other_causes_are_other_groups():
    """Another text, status or stage is another cause; a product of one letter does not spoil the words."""
    logs = [
        failed("too large"),
        failed("too small"),
        failed("too large", http_status=413),
        failed("too large", stage="rows"),
    ]
    assert len({fingerprint(log) for log in logs}) == 4
    assert same(failed("too large", "a"), failed("too large", "b"), failed("too large", None))


def test_history_of_a_row_tried_once_is_its_log():
    """Nothing is stored for it; a row that was never sent has none."""
    log = failed("no", attempts=1, settled_at=NOW)
    assert history(log) == (Try(NOW.timestamp(), 400, "no"),)
    assert history(failed("no", attempts=0, settled_at=NOW)) == ()
    kept = (Try(1.0, 503, "away"), Try(2.0, 400, "no"))
    assert history(failed("no", attempts=2, settled_at=NOW, tries=kept)) == kept


def test_history_is_bounded():
    """The newest tries are kept, with the beginning of what was said."""
    tries: tuple[Try, ...] = ()
    for at in range(MAX_TRIES + 5):
        tries = tried(tries, Try(float(at), 503, "x" * 1000))
    assert [one.at for one in tries] == [float(at) for at in range(5, MAX_TRIES + 5)]
    assert all(len(one.reason or "") == MAX_TRY_CHARS for one in tries)


def test_rows_with_long_histories_fit_into_messages():
    """Rows that come again are split where their histories are long."""
    tries = tuple(Try(1.5e9 + at, 503, "ü" * MAX_TRY_CHARS) for at in range(MAX_TRIES))
    rows = [Row(number, number, f"SKU-{number}", (), tries=tries) for number in range(500)]
    chunks = chunked(rows)
    assert [row for chunk in chunks for row in chunk] == rows
    assert all(len(encode(RowsReady("r" * 26, "flow", 1, chunk))) < MAX_MESSAGE_BYTES for chunk in chunks)


def test_the_digest_of_a_row_is_that_of_its_images():
    """It is computed where it was not before: a row without one must not be taken for any other row without one."""
    images = (Image("https://images.example/a.jpg"),)
    assert digest_of(Row(1, 1, "A", images)) == digest(images)
    assert digest_of(Row(1, 1, "A", images, digest="0a")) == "0a"
