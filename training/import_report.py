"""What the user of ``tenfold import`` sees."""

from training.import_history import Imported


def summary_lines(imported: Imported, to: str) -> list[str]:
    """Return what is printed in the end."""
    lines = [
        f"{imported.transactions:,} payments from {imported.first} to {imported.last}",
        f"{imported.frauds:,} of them frauds, {imported.labels:,} labels; {imported.files:,} files in {to}",
    ]
    refused = sum(imported.refused.values())
    if refused:
        lines.append(f"{refused:,} rows were refused:")
    for reason, count in imported.refused.most_common():
        more = ", …" if count > len(imported.examples[reason]) else ""
        lines.append(f"  {count:,}: {reason} (row {', '.join(imported.examples[reason])}{more})")
    return lines
