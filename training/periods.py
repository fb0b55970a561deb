"""The split by time: training, a gap of the label delay, validation, test."""

from datetime import UTC, date, datetime
from enum import StrEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from models.context import DAY_MS, day_date, day_number
from models.window import Ints
from stream.errors import TenfoldError
from training.labels import Extent

#: Days at the end of training that the threshold is chosen by where no day is spared for validation.
WATCHED_DAYS = 7


class PeriodError(TenfoldError):
    """The archive does not reach far enough for what was asked; the message says how far it reaches."""


class Part(StrEnum):
    """A stretch of time of which windows are kept."""

    TRAINING = "training"
    VALIDATION = "validation"
    TEST = "test"


class Periods(NamedTuple):
    """Where the parts begin and end: milliseconds of event time, at midnight UTC, the ends not included."""

    begin_ms: int
    train_end_ms: int
    validation_ms: int  # begins, the label delay after the end of training; or is the end of training itself
    validation_end_ms: int
    test_ms: int
    end_ms: int

    def judged_at(self, part: Part, known_ms: int) -> int:
        """Return the instant by which labels of a part have landed; ``known_ms`` is the last that is known of.

        What is learned from is judged as when the next part begins, since a model trained then would know no more.
        """
        within_training = self.validation_ms < self.train_end_ms
        if part is Part.TEST or (part is Part.VALIDATION and not within_training):
            return known_ms
        return self.test_ms if within_training else self.validation_ms

    def bounds(self, part: Part) -> tuple[int, int]:
        """Return begin and end of a part."""
        return {
            Part.TRAINING: (self.begin_ms, self.train_end_ms),
            Part.VALIDATION: (self.validation_ms, self.validation_end_ms),
            Part.TEST: (self.test_ms, self.end_ms),
        }[part]

    def inside(self, part: Part, created_at_ms: Ints) -> npt.NDArray[np.bool_]:
        """Return which events are of a part, ``bool [n]``."""
        begin_ms, end_ms = self.bounds(part)
        return (created_at_ms >= begin_ms) & (created_at_ms < end_ms)

    @classmethod
    def undivided(cls, begin_ms: int, end_ms: int) -> "Periods":
        """Return periods that are all test, of which nothing is sampled."""
        return cls(begin_ms, begin_ms, begin_ms, begin_ms, begin_ms, end_ms)

    def described(self) -> dict[str, tuple[str, str]]:
        """Return first and last day of each part, ISO dates."""
        return {part.value: _days(*self.bounds(part)) for part in Part}


def labelled_days(extent: Extent, *, first: date | None, until: date | None, label_delay_days: int) -> tuple[int, int]:
    """Return the days, since 1970-01-01, the end not included, of which an archive has what was asked, and labels.

    Args and what is raised are those of :func:`split_by_time`.
    """
    if extent.first_ms - DAY_MS > extent.known_ms:  # a record arrives at most a day before its event time
        raise PeriodError(
            f"the first transaction is of {_instant(extent.first_ms)}, and it is {_instant(extent.known_ms)} now by "
            "this machine's clock: set it right"
        )
    labelled_until = min(extent.known_ms // DAY_MS - label_delay_days, extent.last_ms // DAY_MS + 1)
    end = labelled_until if until is None else day_number(until)
    if end > labelled_until:
        raise PeriodError(
            f"--to {until}: events are labelled {label_delay_days} days later, and nothing later than "
            f"{_instant(extent.known_ms)} is known: give {day_date(labelled_until)} or earlier"
        )
    begin = extent.first_ms // DAY_MS if first is None else max(day_number(first), extent.first_ms // DAY_MS)
    return begin, end


def split_by_time(
    extent: Extent,
    *,
    first: date | None,
    until: date | None,
    label_delay_days: int,
    validation_days: int,
    test_days: int,
) -> Periods:
    """Return the split of what an archive holds.

    Events younger than the label delay are left out: nobody can have said yet what they are. Between training and
    validation lies the label delay, too: a model that goes live knows no younger label.

    Args:
        extent: of the archive.
        first: day that training begins with, the archive's first by default.
        until: day after the last, the latest that has been labelled by default.
        label_delay_days: how long after an event its label is awaited.
        validation_days: length of the validation; 0 trains up to the label delay before the test, and has the last
            :data:`WATCHED_DAYS` of training for validation.
        test_days: length of the test.

    Raises:
        PeriodError: no day is left to train on, or ``until`` is later than labels reach.
    """
    begin, end = labelled_days(extent, first=first, until=until, label_delay_days=label_delay_days)
    test = end - test_days
    train_end = test - validation_days - label_delay_days
    if validation_days:
        validation, validation_end = test - validation_days, test
    else:
        validation, validation_end = max(train_end - WATCHED_DAYS, begin), train_end
    if train_end <= begin:
        raise PeriodError(
            f"too little history: from {day_date(begin)} to {day_date(end)} there are {max(end - begin, 0)} days, and "
            f"{test_days} of test, {validation_days} of validation and {label_delay_days} of label delay leave none to "
            f"train on; archive more days, or give fewer to --test-days and --validation-days"
        )
    return Periods(*(day * DAY_MS for day in (begin, train_end, validation, validation_end, test, end)))


def _days(begin_ms: int, end_ms: int) -> tuple[str, str]:
    return day_date(begin_ms // DAY_MS).isoformat(), day_date(end_ms // DAY_MS - 1).isoformat()


def _instant(epoch_ms: int) -> str:
    return datetime.fromtimestamp(epoch_ms / 1000, UTC).isoformat(timespec="minutes")
