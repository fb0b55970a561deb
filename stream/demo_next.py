"""What to do after the demo: commands that work where it did. Pure."""

from collections.abc import Iterator


def tenfold_as(called_as: str) -> str:
    """Return how to call ``tenfold`` where the demo was called so: it need not be on PATH."""
    return called_as if called_as.endswith("tenfold") else "tenfold"


def next_lines(called_as: str, *, in_clone: bool) -> Iterator[str]:
    """Yield the commands, with ``tenfold`` called as the demo was; ``make`` only in a clone."""
    tenfold = tenfold_as(called_as)
    yield "What next:"
    if in_clone:
        yield "  make kafka"
        yield "      a real Kafka and Redis, for what README has under “On your own Kafka”"
    for command, why in (
        (f"{tenfold} demo --seed 2 --rate 2000", "other payments, and more of them a second"),
        (f"{tenfold} schema --out schemas", "what goes over the topics, as JSON Schemas and AsyncAPI"),
        (f"{tenfold} doctor", "what a scorer would find on your own Kafka and Redis, and how to mend it"),
    ):
        yield f"  {command}"
        yield f"      {why}"
