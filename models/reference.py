"""``reference.json``: how the payments were distributed that a model learned from; drift is measured by it.

A column is a feature of the scored payment, before normalisation; a column of its context, as ``context.NAME``; or the
score. It comes from training, and is optional: bundles from before it have none.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, model_validator

from models.drift import bin_counts, bin_edges
from models.features import Floats
from models.spec import BundleSpec
from models.window import Ints

SCORE = "score"


class BadReferenceError(ValueError):
    """A reference cannot be read, or is not that of its bundle."""


class ReferenceColumn(BaseModel):
    """The distribution of one column: a bin below the first edge, one from each edge on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    edges: Annotated[tuple[FiniteFloat, ...], Field(min_length=1)]  # ascending
    shares: tuple[Annotated[float, Field(ge=0, le=1)], ...]  # of the payments in each bin; their sum is 1
    events: Annotated[int, Field(gt=0)]  # payments that were looked at

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if len(self.shares) != len(self.edges) + 1:
            raise ValueError(
                f"{len(self.edges)} edges make {len(self.edges) + 1} bins, and there are {len(self.shares)}"
            )
        if (np.diff(self.edges) <= 0).any():
            raise ValueError("edges do not ascend")
        if abs(sum(self.shares) - 1) > 1e-6:
            raise ValueError(f"shares add up to {sum(self.shares)}, not to 1")
        return self


class Reference(BaseModel):
    """The columns of a bundle, by name, in the order of :func:`column_names`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: Literal[1] = 1
    columns: dict[str, ReferenceColumn]


def column_names(spec: BundleSpec) -> tuple[str, ...]:
    """Return the names of a bundle's columns: its features, its context, the score."""
    return (*spec.features, *(f"context.{name}" for name in spec.context), SCORE)


def columns_of(
    features: npt.NDArray[np.float32], lengths: Ints, context: npt.NDArray[np.float32] | None
) -> npt.NDArray[np.float32]:
    """Return what the columns but the score hold of each window's last event, ``float32 [n, F + C]``.

    Args:
        features: ``[n, T, F]``, as the model reads them.
        lengths: of the windows, ``[n]``, 1 to T.
        context: ``[n, C]``, or ``None``.
    """
    last = features[np.arange(len(features)), lengths - 1]
    return last if context is None else np.concatenate([last, context], axis=1)


def reference_of(
    names: Sequence[str], columns: npt.NDArray[np.float32], weights: Floats, scores: Floats, score_weights: Floats
) -> Reference:
    """Return the reference of what a model learned from.

    Args:
        names: of the columns and of the score, as :func:`column_names` has them.
        columns: ``[n, F + C]`` of training, as :func:`columns_of` has them.
        weights: how many payments each row stands for, ``[n]``.
        scores: the finished model's probabilities of payments that it has not learned from, ``[m]``.
        score_weights: how many payments each of these stands for, ``[m]``.
    """
    found: Mapping[str, ReferenceColumn] = {
        name: _column(values, weights) for name, values in zip(names[:-1], columns.T, strict=True)
    }
    return Reference(columns={**found, names[-1]: _column(scores, score_weights)})


def read_reference(path: Path, spec: BundleSpec) -> Reference:
    """Return the reference that stands in a bundle of this ``spec``.

    Raises:
        BadReferenceError: it is of other columns, or not of this release.
        FileNotFoundError: there is none.
    """
    try:
        reference = Reference.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise BadReferenceError(f"{path.name} is not a reference of this release: {error}") from error
    if tuple(reference.columns) != column_names(spec):
        raise BadReferenceError(
            f"{path.name} has the columns {', '.join(reference.columns)}, the model {', '.join(column_names(spec))}"
        )
    return reference


def _column(values: Floats, weights: Floats) -> ReferenceColumn:
    edges = bin_edges(values, weights)
    counts = bin_counts(values, weights, edges)
    return ReferenceColumn(
        edges=tuple(edges.tolist()), shares=tuple((counts / counts.sum()).tolist()), events=len(values)
    )
