"""Which metrics a PromQL expression reads, and which of their labels. Its grammar is Prometheus' own to check."""

import re
from collections import defaultdict
from collections.abc import Iterable

_TOKEN = re.compile(
    r"""\s*(?:(?P<string>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')
          |(?P<range>\[[^\]]*\])
          |(?P<number>\d[\w.]*)
          |(?P<name>[A-Za-z_:][\w:]*)
          |(?P<sign>=~|!~|!=|==|>=|<=|[-+*/%^<>=(),{}@]))""",
    re.VERBOSE,
)
_BETWEEN_VECTORS = {"and", "or", "unless", "bool", "offset"}
_GROUPING = {"by", "without", "on", "ignoring", "group_left", "group_right"}

Uses = dict[str, set[str]]


class PromqlError(ValueError):
    """The expression is none, or is written in a way that this reader does not know."""


def uses(expression: str) -> Uses:
    """Return the labels that an expression asks of each metric: to match, or to group what is aggregated.

    Raises:
        PromqlError: it cannot be read.
    """
    tokens = _tokens(expression)
    found = _read(tokens)
    if tokens:
        raise PromqlError(f"unexpected {tokens[-1][1]!r} in {expression}")
    return found


def _tokens(expression: str) -> list[tuple[str, str]]:
    """Return kind and text of each token, the first one last."""
    place, tokens = 0, []
    expression = expression.rstrip()
    while place < len(expression):
        match = _TOKEN.match(expression, place)
        if match is None:
            raise PromqlError(f"cannot read {expression[place:]!r}")
        tokens.append((str(match.lastgroup), str(match[match.lastgroup or 0])))
        place = match.end()
    return tokens[::-1]


def _read(tokens: list[tuple[str, str]]) -> Uses:
    """Read up to the end, or to the parenthesis that closes what is open."""
    found: Uses = defaultdict(set)
    labels: list[str] = []  # of an aggregation that is about to begin
    while tokens and tokens[-1][1] != ")":
        kind, text = tokens.pop()
        follows = tokens[-1][1] if tokens else ""
        if text == "by":
            labels = _names(tokens)
            if not tokens or tokens[-1][1] != "(":
                raise PromqlError("`by` goes before what is aggregated: sum by (label) (expression)")
        elif text in _GROUPING:
            raise PromqlError(f"this reader does not know {text!r} yet")
        elif text == "(":
            for metric, asked in _read(tokens).items():
                found[metric] |= asked | set(labels)
            labels = []
            _expect(tokens, ")")
        elif text == "{":
            _matchers(tokens, found, "")
        elif kind == "name" and text not in _BETWEEN_VECTORS and follows not in {"(", "by"}:
            found[text] |= set()
            if follows == "{":
                tokens.pop()
                _matchers(tokens, found, text)
    return found


def _names(tokens: list[tuple[str, str]]) -> list[str]:
    _expect(tokens, "(")
    names = []
    while tokens and tokens[-1][1] != ")":
        kind, text = tokens.pop()
        if kind == "name":
            names.append(text)
    _expect(tokens, ")")
    return names


def _matchers(tokens: list[tuple[str, str]], found: Uses, metric: str) -> None:
    """Read what stands in braces; ``metric`` may stand there too, as ``__name__``."""
    labels, metrics = set(), [metric] if metric else []
    while tokens and tokens[-1][1] != "}":
        _, label = tokens.pop()
        if label == ",":
            continue
        tokens.pop()
        kind, value = tokens.pop()
        if kind != "string":
            raise PromqlError(f"label {label} is compared with {value}")
        if label == "__name__":
            metrics += value[1:-1].split("|")
        else:
            labels.add(label)
    _expect(tokens, "}")
    if not metrics:
        raise PromqlError("a selector without a metric")
    for each in metrics:
        found[each] |= labels


def _expect(tokens: list[tuple[str, str]], text: str) -> None:
    if not tokens or tokens.pop()[1] != text:
        raise PromqlError(f"{text!r} is missing")


def unknown(expression: str, known: dict[str, set[str]]) -> Iterable[str]:
    """Yield what an expression asks for and nothing has: ``metric``, or ``metric{label}``."""
    for metric, labels in uses(expression).items():
        if metric not in known:
            yield metric
        else:
            yield from (f"{metric}{{{label}}}" for label in sorted(labels - known[metric]))
