"""SequenceProcessor against a loop that does what the docstring says."""

from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pd = pytest.importorskip("pandas", reason="needs the training extra")

from training.sequence_processor import FEATURES, SequenceProcessor  # noqa: E402

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)

rows = st.lists(
    st.fixed_dictionaries(
        {
            "user_id": st.sampled_from(["a", "b", "c"]),
            "created_at": st.integers(0, 12).map(lambda hours: BEGIN + timedelta(hours=9 * hours)),  # ties are common
            "amount": st.floats(0, 1e6, width=32),
            "is_vpn": st.booleans(),
            "is_fraud": st.booleans(),
        }
    ),
    min_size=1,
    max_size=60,
)


def one_by_one(df: pd.DataFrame, length: int) -> tuple[list[list[list[float]]], list[float]]:
    runs, labels = [], []
    for user in sorted(df["user_id"].unique()):
        own = sorted(df[df["user_id"] == user].to_dict("records"), key=lambda row: row["created_at"])
        for i in range(len(own) - length):
            runs.append([[float(row[name]) for name in FEATURES] for row in own[i : i + length]])
            labels.append(float(own[i + length]["is_fraud"]))
    return runs, labels


@settings(deadline=None)
@given(rows=rows, length=st.sampled_from([1, 2, 10]))
def test_every_run_of_a_user_is_labelled_with_the_transaction_after_it(rows: list[dict], length: int) -> None:
    processor = SequenceProcessor(length)
    df = processor.extract_temporal_features(pd.DataFrame(rows, index=range(100, 100 + len(rows))))
    before = df.copy(deep=True)

    x, y = processor.create_sequences(df)

    runs, labels = one_by_one(df, length)
    assert x.dtype == y.dtype == np.float32
    assert x.shape == (len(runs), length, 4)
    assert x.tolist() == np.array(runs, np.float32).tolist()
    assert y.tolist() == labels
    pd.testing.assert_frame_equal(df, before)


def test_a_user_with_ten_transactions_gives_nothing_and_one_with_eleven_one_run() -> None:
    def history(user: str, n: int) -> pd.DataFrame:
        times = [BEGIN + timedelta(days=day) for day in range(n)]
        return pd.DataFrame(
            {
                "account": user,
                "created_at": times,
                "amount": range(n),
                "is_vpn": False,
                "is_fraud": [False] * (n - 1) + [True],
            }
        )

    processor = SequenceProcessor()
    df = processor.extract_temporal_features(pd.concat([history("ten", 10), history("eleven", 11)]))
    x, y = processor.create_sequences(df, user_id_col="account")
    assert x[:, :, 0].tolist() == [list(range(10))]
    assert y.tolist() == [1.0]


def test_hours_and_days_are_of_utc_where_there_is_a_zone_and_as_they_stand_where_there_is_none() -> None:
    berlin = timezone(timedelta(hours=2))
    processor = SequenceProcessor()
    zoned = processor.extract_temporal_features(
        pd.DataFrame({"created_at": [datetime(2026, 8, 1, 0, 30, tzinfo=berlin)]})
    )
    assert zoned[["hour_of_day", "day_of_week", "is_weekend", "is_night"]].to_numpy().tolist() == [[22, 4, False, True]]
    naive = processor.extract_temporal_features(pd.DataFrame({"created_at": pd.to_datetime(["2026-08-01 00:30"])}))
    assert naive[["hour_of_day", "day_of_week", "is_weekend", "is_night"]].to_numpy().tolist() == [[0, 5, True, True]]
    text = processor.extract_temporal_features(pd.DataFrame({"created_at": ["2026-08-01T00:30:00+02:00"]}))
    assert text["hour_of_day"].tolist() == [22]


def test_text_with_offsets_is_in_order_of_time() -> None:
    times = ["2026-01-01T08:00:00+00:00", "2026-01-01T09:00:00+02:00", "2026-01-01T10:00:00+00:00"]
    df = pd.DataFrame({"user_id": "a", "created_at": times, "amount": [2, 1, 3], "is_vpn": False, "is_fraud": False})
    processor = SequenceProcessor(2)
    x, _ = processor.create_sequences(processor.extract_temporal_features(df))
    assert x[:, :, :2].tolist() == [[[1, 7], [2, 8]]]


def test_rows_without_a_user_are_refused() -> None:
    df = pd.DataFrame({"user_id": ["a", None, None], "created_at": BEGIN, "amount": 1.0, "is_vpn": 0, "is_fraud": 0})
    processor = SequenceProcessor(1)
    with pytest.raises(ValueError, match="2 of 3 rows have no user_id"):
        processor.create_sequences(processor.extract_temporal_features(df))


@pytest.mark.parametrize(("hour", "night"), [(21, False), (22, True), (23, True), (0, True), (5, True), (6, False)])
def test_the_night_crosses_midnight(hour: int, night: bool) -> None:
    df = pd.DataFrame({"created_at": [BEGIN.replace(hour=hour)]})
    assert SequenceProcessor().extract_temporal_features(df)["is_night"].tolist() == [night]


def test_the_callers_frame_stays_as_it_was() -> None:
    df = pd.DataFrame({"created_at": [BEGIN]})
    SequenceProcessor().extract_temporal_features(df)
    assert list(df.columns) == ["created_at"]


def test_missing_columns_are_named() -> None:
    df = pd.DataFrame({"user_id": ["a"], "created_at": [BEGIN], "amount": [1.0], "is_fraud": [False]})
    with pytest.raises(ValueError, match="lacks hour_of_day, is_weekend, is_vpn;"):
        SequenceProcessor().create_sequences(df)
    with pytest.raises(ValueError, match="lacks created_at;"):
        SequenceProcessor().extract_temporal_features(df[["amount"]])


def test_a_sequence_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        SequenceProcessor(0)
