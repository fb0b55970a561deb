"""Users' names in the archive's files: ids in clear, or pseudonyms, in which case a column says under which keys. Pure.

A file is of one generation of keys. Whoever reads brings its names forward to the newest, so that files of several
generations, clear ones among them, read as one archive. That the generation stands beside each name, and not in the
file's metadata, is so that a query sees it, and that a file which is rewritten between a look at it and its reading is
not brought forward twice. Without keys there is no such column, and files are what they always were.
"""

import pyarrow as pa
import pyarrow.compute as pc

from stream.pseudonyms import Pseudonyms

#: The columns that name users: a score or a label may have been produced under another key.
OWNERS = ("user_id", "key")

#: The word for the keys under which a row's users are named (:attr:`stream.pseudonyms.Pseudonyms.tag`).
NAMED_UNDER = pa.field("pseudonyms", pa.string(), nullable=False)


class UnknownKeysError(Exception):
    """Rows are named under keys that are not this process's; the only argument is their tag."""


def stored_schema(schema: pa.Schema, pseudonyms: Pseudonyms) -> pa.Schema:
    """Return the columns of a file whose rows have those of ``schema``; the same where there is no key."""
    return schema.append(NAMED_UNDER) if pseudonyms.keys and NAMED_UNDER.name not in schema.names else schema


def named(rows: pa.Table, pseudonyms: Pseudonyms, generation: int = 0) -> pa.Table:
    """Return rows as they are stored: under the newest generation, and saying so; the same where there is no key.

    ``generation`` is that of the names in ``rows``; 0 are ids in clear.
    """
    if not pseudonyms.keys:
        return rows
    rows = _forward(rows, pseudonyms, generation)
    tags = pa.repeat(pa.scalar(pseudonyms.tag, pa.string()), len(rows))
    place = rows.schema.get_field_index(NAMED_UNDER.name)
    return rows.append_column(NAMED_UNDER, tags) if place < 0 else rows.set_column(place, NAMED_UNDER, tags)


def under_newest(rows: pa.Table, pseudonyms: Pseudonyms) -> pa.Table:
    """Return rows of one file with their users' names under the newest generation; other columns are as they were.

    Raises:
        UnknownKeysError: they are named under other keys.
    """
    return _forward(rows, pseudonyms, generation_of(rows, pseudonyms))


def generation_of(rows: pa.Table, pseudonyms: Pseudonyms) -> int:
    """Return the generation of the names in rows of one file.

    Raises:
        UnknownKeysError: it is none of these keys'.
        ValueError: there are several.
    """
    if NAMED_UNDER.name not in rows.schema.names or not len(rows):
        return 0
    tags = pc.unique(rows[NAMED_UNDER.name]).to_pylist()
    if len(tags) != 1:
        raise ValueError("its rows are named under several generations of keys")
    return known(tags[0] or "", pseudonyms)


def known(tag: str, pseudonyms: Pseudonyms) -> int:
    """Return the generation that a tag is of.

    Raises:
        UnknownKeysError: it is none of these keys'.
    """
    if tag not in pseudonyms.tags:
        raise UnknownKeysError(tag)
    return pseudonyms.tags.index(tag)


def forward_column(names: pa.Array | pa.ChunkedArray, pseudonyms: Pseudonyms, generation: int) -> pa.Array:
    """Return names, ``string [n]``, null where they are null, under the newest generation; each is made once."""
    whole = names.combine_chunks() if isinstance(names, pa.ChunkedArray) else names
    encoded = whole.dictionary_encode()
    newest = pseudonyms.forward(encoded.dictionary.cast(pa.binary()).to_pylist(), generation)
    return pa.array([each.decode() for each in newest], pa.string()).take(encoded.indices)


def _forward(rows: pa.Table, pseudonyms: Pseudonyms, generation: int) -> pa.Table:
    if generation == len(pseudonyms.keys):
        return rows
    for name in OWNERS:
        place = rows.schema.get_field_index(name)
        if place >= 0:
            column = forward_column(rows[name], pseudonyms, generation)
            rows = rows.set_column(place, rows.schema.field(place), column)
    return rows
