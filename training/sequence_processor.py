"""Sequences out of a DataFrame, as the project began: ten transactions of a user, and whether the next is a fraud.

The scorer asks something else, whether the *last* of ten is a fraud, and bundles are trained on that
(:mod:`training.dataset`). This is for work with DataFrames.
"""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pandas as pd

from models.features import PRESETS, is_night, is_weekend
from models.window import SEQUENCE_LENGTH

FEATURES = PRESETS["baseline"]


class SequenceProcessor:
    """Makes sequences of ``sequence_length`` transactions."""

    def __init__(self, sequence_length: int = SEQUENCE_LENGTH) -> None:
        if sequence_length < 1:
            raise ValueError(f"a sequence has at least one transaction, not {sequence_length}")
        self.sequence_length = sequence_length

    def extract_temporal_features(self, df: pd.DataFrame) -> pd.DataFrame:
        """Return a copy with ``hour_of_day``, ``day_of_week`` (Monday is 0), ``is_weekend`` and ``is_night``.

        They are of ``created_at``: in UTC where it has a time zone, else as it stands. Night is 22:00 to 06:00. In the
        copy ``created_at`` is such a time, too: text with offsets would not be in order of time.

        Raises:
            ValueError: there is no ``created_at``, or it is not a time.
        """
        _require(df, ["created_at"])
        created_at = df["created_at"]
        # a column of mixed offsets or of text has no dtype of time; with an offset it means an instant
        if not pd.api.types.is_datetime64_any_dtype(created_at):
            created_at = pd.to_datetime(created_at, format="ISO8601", utc=_has_offset(created_at))
        if isinstance(created_at.dtype, pd.DatetimeTZDtype):
            created_at = created_at.dt.tz_convert("UTC")
        hour, day = created_at.dt.hour, created_at.dt.day_of_week
        return df.assign(
            created_at=created_at,
            hour_of_day=hour,
            day_of_week=day,
            is_weekend=is_weekend(day.to_numpy()),
            is_night=is_night(hour.to_numpy()),
        )

    def create_sequences(
        self, df: pd.DataFrame, user_id_col: str = "user_id"
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Return every run of T consecutive transactions of a user, and the label of the transaction after it.

        Args:
            df: has ``amount``, ``hour_of_day``, ``is_weekend``, ``is_vpn``, ``created_at`` and ``is_fraud``; rows in
                any order, equal times in the order they have.
            user_id_col: the column that names the user.

        Returns:
            ``X float32 [n, T, 4]`` of the features in that order, and ``y float32 [n]``, 0 or 1: users in order of
            their ids, runs in order of time. A user with T transactions or fewer gives none.

        Raises:
            ValueError: columns are missing, or users: rows without one would be one user's.
        """
        _require(df, [user_id_col, "created_at", *FEATURES, "is_fraud"])
        nobodys = int(df[user_id_col].isna().sum())
        if nobodys:
            raise ValueError(f"{nobodys:,} of {len(df):,} rows have no {user_id_col}: whose are they?")
        length = self.sequence_length
        ordered = df.sort_values([user_id_col, "created_at"], kind="stable")
        values = ordered[list(FEATURES)].to_numpy(np.float32)
        labels = ordered["is_fraud"].to_numpy(np.float32)
        if len(ordered) <= length:
            return np.empty((0, length, len(FEATURES)), np.float32), np.empty(0, np.float32)
        user = pd.factorize(ordered[user_id_col])[0]
        starts = np.flatnonzero(user[:-length] == user[length:])  # a run and the transaction after it are one user's
        runs = np.lib.stride_tricks.sliding_window_view(values, length, axis=0)  # [rows - T + 1, 4, T]
        return np.ascontiguousarray(runs[starts].transpose(0, 2, 1)), labels[starts + length]


def _require(df: pd.DataFrame, columns: Iterable[str]) -> None:
    missing = [column for column in columns if column not in df.columns]
    if missing:
        raise ValueError(
            f"the frame lacks {', '.join(missing)}; it has {', '.join(map(str, df.columns)) or 'no columns'} "
            "(extract_temporal_features adds those of time)"
        )


def _has_offset(created_at: "pd.Series[str]") -> bool:
    return any(pd.Timestamp(value).tzinfo is not None for value in created_at.head(1))
