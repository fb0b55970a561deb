"""``spec.json``: what a bundle says about itself."""

from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from models.context import CONTEXT
from models.features import FEATURES


def _known_features(names: tuple[str, ...]) -> tuple[str, ...]:
    unknown = sorted(set(names) - set(FEATURES))
    if unknown:
        raise ValueError(f"unknown feature {', '.join(unknown)}; this release computes {', '.join(FEATURES)}")
    return _without_repeats(names)


def _known_columns(names: tuple[str, ...]) -> tuple[str, ...]:
    unknown = sorted(set(names) - set(CONTEXT))
    if unknown:
        raise ValueError(f"unknown context {', '.join(unknown)}; this release computes {', '.join(CONTEXT)}")
    return _without_repeats(names)


def _without_repeats(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) != len(names):
        raise ValueError("a name appears twice")
    return names


def _iana_zone(zone: str) -> str:
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:  # a directory of zones, such as Europe, is an OSError
        raise ValueError(f"{zone!r} is not an IANA time zone such as 'UTC' or 'Europe/Paris'") from error
    return zone


class BundleSpec(BaseModel):
    """How a bundle's model was made and how it must be fed; written as ``spec.json``, one field a key."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: Literal[1] = 1
    model_version: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,127}$")]  # the score carries it
    preset: Annotated[str, Field(min_length=1)]
    features: Annotated[tuple[str, ...], Field(min_length=1), AfterValidator(_known_features)]  # columns of the input
    sequence_length: Annotated[int, Field(ge=1, le=255)]
    window_max_age_ms: Annotated[int, Field(gt=0)]  # of event time
    zone: Annotated[str, AfterValidator(_iana_zone)]  # of hour, weekend, night and the profile day
    context: Annotated[tuple[str, ...], AfterValidator(_known_columns)]  # columns of the context; may be empty
    threshold: Annotated[float, Field(gt=0, lt=1)]  # a probability above it is an anomaly
    threshold_rule: Annotated[str, Field(min_length=1)] | None = None  # how it was chosen; older bundles do not say
    trained_from: AwareDatetime | None  # event time of the first and the last training event
    trained_to: AwareDatetime | None
    label_rule: Annotated[str, Field(min_length=1)]  # which label a window was trained with
    label_delay_days: Annotated[int, Field(ge=0)]  # gap between training and validation; of the profiles, too
    seed: int
    created_at: AwareDatetime
    libraries: dict[str, str]  # name -> version that trained it
