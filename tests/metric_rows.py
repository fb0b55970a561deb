"""The rows of a page's table of metrics, as the code describes them."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry


def metric_rows(kind: Callable[[CollectorRegistry], object]) -> list[str]:
    """Return a line of Markdown for each metric of a class that makes them: name, type, labels, what it tells."""
    registry = CollectorRegistry()
    made = kind(registry)
    labels = {each._name: each._labelnames for each in vars(made).values() if hasattr(each, "_labelnames")}
    return [
        f"| `{family.name}{'_total' if family.type == 'counter' else ''}` | {family.type} "
        f"| {', '.join(f'`{label}`' for label in labels.get(family.name, ()))} | {family.documentation} |"
        for family in registry.collect()
    ]


def rows_in(page: str) -> list[str]:
    """Return those that a page has."""
    return [line for line in page.splitlines() if line.startswith("| `tenfold_")]
