"""How profiles lie in Redis; for who publishes them and for the scorer, who reads them.

An index, one for each definition of profiles, names the tables of the last days and their versions. A table is spread
over :data:`BUCKETS` hash tags, so that it is spread over the nodes of a Redis Cluster, too::

    tenfold:profiles:<topic>:<definition>                              the index, JSON
    tenfold:profiles:{<topic>:<definition>:<bucket>}:<version>:<kind>  hash: id -> a profile, '' -> the prior

Where users have pseudonyms, their profiles are under these, and ``<definition>`` is followed by ``:`` and the tag of
the keys: a scorer never looks for a user in a table that knows users by other names.

What a version holds never changes: other contents are another version. The index is set last.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Annotated
from zlib import crc32

import numpy as np
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from models.context import PROFILE_KINDS, VALUES, Floats32, ProfileDefinition, ProfileKind
from models.window import Ints
from stream.pseudonyms import CLEAR, Pseudonyms

BUCKETS = 16

#: The field of a table that holds its prior; no id is empty.
PRIOR = b""

#: A value of a profile, and the bytes of a whole one.
WIRE = np.dtype("<f4")
WIDTH = len(VALUES) * WIRE.itemsize


class PublishedTable(BaseModel):
    """A table of profiles in Redis."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    day: date
    version: Annotated[str, Field(pattern=r"^[0-9a-f]+$")]  # of the contents: the same ones have the same
    rows: int
    published_at: AwareDatetime


class ProfileIndex(BaseModel):
    """The tables that are there, by day."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    tables: tuple[PublishedTable, ...] = ()


@dataclass(frozen=True, slots=True)
class ProfileKeys:
    """The keys of the profiles of one topic and definition, and how users are named there."""

    topic: str
    definition: ProfileDefinition
    pseudonyms: Pseudonyms = CLEAR

    @property
    def index(self) -> bytes:
        """The key of the index."""
        return f"tenfold:profiles:{self._of}".encode()

    def table(self, version: str, kind: ProfileKind, bucket: int) -> bytes:
        """Return the key of a bucket of a table."""
        return f"tenfold:profiles:{{{self._of}:{bucket}}}:{version}:{kind}".encode()

    def tables(self, version: str) -> list[bytes]:
        """Return the keys of a table."""
        return [self.table(version, kind, bucket) for kind in PROFILE_KINDS for bucket in range(BUCKETS)]

    def names(self, kind: ProfileKind, ids: Sequence[bytes], generation: int = 0) -> Sequence[bytes]:
        """Return the fields that ids have in a table; ``generation`` is that of users' names, 0 for ids in clear."""
        return self.pseudonyms.forward(ids, generation) if kind == "user" else ids

    @property
    def _of(self) -> str:
        tag = f":{self.pseudonyms.tag}" if self.pseudonyms.keys else ""
        return f"{self.topic}:{self.definition.name}{tag}"


def buckets_of(entities: Sequence[bytes]) -> Ints:
    """Return the bucket of each id of a merchant or a user."""
    return np.fromiter(map(crc32, entities), np.int64, len(entities)) % BUCKETS


def pack_profiles(profiles: Floats32) -> list[bytes]:
    """Return each profile, ``float32 [n, len(VALUES)]``, as the bytes that Redis keeps."""
    raw = profiles.astype(WIRE).tobytes()
    return [raw[begin : begin + WIDTH] for begin in range(0, len(raw), WIDTH)]
