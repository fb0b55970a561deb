"""What the user of ``tenfold import`` sees."""

from collections.abc import Mapping

from stream.plurals import count_of
from training.import_history import Imported
from training.import_rules import EXPECTED

_SHOWN = 40  # characters of a value


def summary_lines(imported: Imported, to: str, columns: Mapping[str, str]) -> list[str]:
    """Return what is printed in the end; ``columns`` are the files' for each field."""
    labels, files = count_of(imported.labels, "label"), count_of(imported.files, "file")
    if imported.labels:
        labels += f" from {imported.first_label} to {imported.last_label}"
    lines = [
        f"{count_of(imported.transactions, 'payment')} from {imported.first} to {imported.last}",
        f"{imported.with_merchant:,} with a merchant_id, {imported.over_vpn:,} with is_vpn",
        f"{imported.frauds:,} of them frauds, {labels}; {files} in {to}",
    ]
    if imported.repeated_transactions:
        repeated = count_of(imported.repeated_transactions, "payment")
        lines.append(f"{repeated} of an id that is there before: the first of each counts")
    refused = sum(imported.refused.values())
    if refused:
        lines.append(f"{count_of(refused, 'row')} refused:")
    for reason, count in imported.refused.most_common():
        lines.append(f"  {count:,}: {refused_as_told(imported, reason, columns)}")
    return lines


def refused_as_told(imported: Imported, reason: str, columns: Mapping[str, str]) -> str:
    """Return a reason with the first rows that have it, a value if one can be shown, and how to write it if need be."""
    count, examples, first = imported.refused[reason], imported.examples[reason], imported.given.get(reason)
    told = f"{reason} (row {', '.join(examples)}{', …' if count > len(examples) else ''})"
    if first is None or first.given is None:
        return told
    field = reason.partition(" ")[0]
    value = first.given if len(first.given) <= _SHOWN else f"{first.given[:_SHOWN]}…"
    written_well = " is not between " in reason  # it could be read: how to write it is no help
    how = "" if written_well else f": {EXPECTED[field]}"
    return f"{told}; {first.file}:{first.row} has {value!r} in column {columns.get(field, field)}{how}"
