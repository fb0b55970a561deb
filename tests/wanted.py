"""The windows that tests ask an archive for, unless they say otherwise."""

from datetime import date

from models.context import DAY_MS, PRESET_CONTEXT
from models.features import PRESETS
from training.archive_dataset import Wanted

#: Later than anything in an archive of the tests.
NOW_MS = 4_000_000_000_000

WANTED = Wanted(
    features=PRESETS["default"],
    context=PRESET_CONTEXT["default"],
    sequence_length=10,
    max_age_ms=90 * DAY_MS,
    zone="UTC",
    first=None,
    until=date(2026, 4, 1),
    label_delay_days=7,
    validation_days=5,
    test_days=6,
    split="time",
    honest_per_fraud=1000,
    seed=3,
    now_ms=NOW_MS,
)
