"""Which rows of history can be used: conversions and refusals as SQL, over a batch whose columns are the fields."""

from collections.abc import Mapping

import pyarrow as pa

from stream.contract import MAX_AMOUNT, MAX_ID_CHARS

_TIME = (
    'write 2018-04-01 12:00:00, or RFC 3339; with pandas, to_datetime(COLUMN, format="%d.%m.%Y %H:%M") reads '
    '01.04.2018 12:00, and to_datetime(COLUMN, unit="s") seconds since 1970'
)
_TRUTH = "write true, yes or 1, or false, no or 0"

#: How a value is written, by the field that it is of: of these the first that cannot be used is shown, of ids none.
EXPECTED = {
    "amount": 'write 1234.56; with pandas, read_csv(FILE, decimal=",", thousands=".") reads 1.234,56',
    "created_at": _TIME,
    "labelled_at": _TIME,
    "is_vpn": _TRUTH,
    "is_fraud": _TRUTH,
}

_YES, _NO = "('true', 't', 'yes', 'y', '1')", "('false', 'f', 'no', 'n', '0')"


def conversion_sql(schema: pa.Schema, label_delay_ms: int, *, label_all: bool) -> str:
    """Return a query over ``batch``: the fields as the archive has them, times in ms, and ``refused``, why or null.

    Of a refused row ``given`` is what the file has in the field, where :data:`EXPECTED` knows the field.

    Times without an offset are in the session's time zone.

    Args:
        schema: of the batch: ``row`` and the fields; ``is_vpn``, ``merchant_id``, ``is_fraud`` and ``labelled_at`` may
            be absent.
        label_delay_ms: what lies between a transaction and its label where there is no ``labelled_at``.
        label_all: whether what is no fraud gets a label too, and so needs a ``labelled_at``.
    """
    types = {field.name: field.type for field in schema}
    times = {name: _time(name, types[name]) for name in ("created_at", "labelled_at") if name in types}
    fields = {
        "transaction_id": _text("transaction_id", types["transaction_id"]),
        "user_id": _text("user_id", types["user_id"]),
        "amount": "TRY_CAST(amount AS DOUBLE)",
        "created_at": times["created_at"],
        "is_vpn": _truth("is_vpn", types["is_vpn"], missing="false") if "is_vpn" in types else "false",
        "merchant_id": _text("merchant_id", types["merchant_id"]) if "merchant_id" in types else "NULL",
        "is_fraud": _truth("is_fraud", types["is_fraud"], missing="NULL") if "is_fraud" in types else "NULL",
        "labelled_at": times.get("labelled_at", f"{times['created_at']} + {label_delay_ms}"),
    }
    converted = ", ".join(f"{sql} AS {name}" for name, sql in fields.items())
    refused = _refusals(types, label_all).items()
    refusals = " ".join(f"WHEN {condition} THEN '{reason}'" for reason, condition in refused)
    shown = [name for name in EXPECTED if name in types]
    texts = ", ".join(f"CAST(batch.{name} AS VARCHAR) AS given_{name}" for name in shown)
    given = " ".join(f"WHEN starts_with(refused, '{name} ') THEN given_{name}" for name in shown)
    told = f'SELECT *, CASE {refusals} END AS refused FROM (SELECT "row", {converted}, {texts} FROM batch)'  # noqa: S608 - ours
    return f"SELECT * EXCLUDE ({', '.join(f'given_{name}' for name in shown)}), CASE {given} END AS given FROM ({told})"  # noqa: S608


def labelled(*, label_all: bool) -> str:
    """Return the condition under which a payment gets a label: an empty ``is_fraud`` is none."""
    return "is_fraud IS NOT NULL" if label_all else "is_fraud"


def _refusals(types: Mapping[str, pa.DataType], label_all: bool) -> dict[str, str]:
    """Return the conditions under which a converted row is refused, by reason; the first that holds counts."""
    conditions = {}
    for name in ("transaction_id", "user_id"):
        conditions[f"{name} is missing"] = f"coalesce({name}, '') = ''"
        conditions[f"{name} has more than {MAX_ID_CHARS} characters"] = f"length({name}) > {MAX_ID_CHARS}"
    conditions[f"merchant_id has more than {MAX_ID_CHARS} characters"] = f"length(merchant_id) > {MAX_ID_CHARS}"
    conditions["amount is missing or not a number"] = "amount IS NULL OR isnan(amount)"
    conditions[f"amount is not between 0 and {MAX_AMOUNT:g}"] = f"amount < 0 OR amount > {MAX_AMOUNT!r}"
    conditions["created_at is missing or not a time"] = "created_at IS NULL"
    conditions["created_at is not between 1970 and 9999"] = _out_of_range("created_at")
    if "is_vpn" in types:
        conditions["is_vpn is neither true nor false"] = "is_vpn IS NULL"
    if "is_fraud" in types:
        conditions["is_fraud is neither true nor false"] = "is_fraud IS NULL AND trim(given_is_fraud) <> ''"
    if "labelled_at" in types:
        needs_one = labelled(label_all=label_all)
        conditions["labelled_at is missing or not a time"] = f"{needs_one} AND labelled_at IS NULL"
    conditions["labelled_at is not between 1970 and 9999"] = _out_of_range("labelled_at")
    return conditions


def _out_of_range(name: str) -> str:
    return f"{name} < 0 OR {name} >= 253402300800000"


def _text(name: str, kind: pa.DataType) -> str:
    column = f"batch.{name}"
    if pa.types.is_floating(kind):  # numbers that a tool made floats because some were missing
        whole = f"CAST(TRY_CAST({column} AS BIGINT) AS VARCHAR)"
        return f"CASE WHEN {column} = floor({column}) THEN {whole} ELSE CAST({column} AS VARCHAR) END"
    return f"nullif(CAST({column} AS VARCHAR), '')"


def _truth(name: str, kind: pa.DataType, missing: str) -> str:
    text = f"lower(trim(CAST(batch.{name} AS VARCHAR)))"
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        text = f"CASE batch.{name} WHEN 1 THEN '1' WHEN 0 THEN '0' END"
    is_missing = f"batch.{name} IS NULL OR trim(CAST(batch.{name} AS VARCHAR)) = ''"
    return f"CASE WHEN {is_missing} THEN {missing} WHEN {text} IN {_YES} THEN true WHEN {text} IN {_NO} THEN false END"


def _time(name: str, kind: pa.DataType) -> str:
    if not (_is_text(kind) or pa.types.is_timestamp(kind) or pa.types.is_date(kind)):
        return "CAST(NULL AS BIGINT)"  # a number could be seconds or milliseconds of anything
    at = f"TRY_CAST(batch.{name} AS TIMESTAMPTZ)"
    return f"CASE WHEN isfinite({at}) THEN epoch_ms({at}) END"


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_dictionary(kind))
