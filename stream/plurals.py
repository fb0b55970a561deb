"""Counts in sentences: one payment, two payments."""


def count_of(count: int, noun: str) -> str:
    """Return ``1 broker`` or ``12,000 brokers`` for the noun ``broker``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
