"""The history of a store's pointers, and what can be told from it.

A switch is written down before it is made. So what a pointer really named is not what the history says of the last
switch, but what the next one found: ``before``, and for the last one the pointer itself.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from models.durable import append_line, whole_lines

HISTORY = "history.jsonl"

Pointer = Literal["champion", "challenger"]

Line = TypeVar("Line", bound=BaseModel)


class HistoryError(ValueError):
    """A line of the history is not one that a release of this format wrote."""


class Switch(BaseModel):
    """One switch of a pointer as it was meant; a line of ``history.jsonl``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    at: AwareDatetime
    pointer: Pointer
    action: Literal["train", "promote", "rollback", "shadow"]
    before: str | None  # what the pointer named; None where there was none
    after: str | None
    reason: str | None


def write_down(store: Path, switch: Switch) -> None:
    """Append ``switch`` to the history, to stay."""
    append_line(store / HISTORY, switch.model_dump_json())


def read_history(store: Path) -> tuple[list[Switch], bool]:
    """Return the switches, oldest first, and whether a crash left part of one more, which then was not made.

    Raises:
        HistoryError: a line cannot be read; the message has its number.
    """
    return read_lines(store / HISTORY, Switch)


def read_lines(path: Path, kind: type[Line]) -> tuple[list[Line], bool]:
    """Return the lines of a history, oldest first, and whether a crash left part of one more.

    Raises:
        HistoryError: a line cannot be read; the message has its number.
    """
    lines, torn = whole_lines(path)
    found = []
    for number, line in enumerate(lines, 1):
        try:
            found.append(kind.model_validate_json(line))
        except ValidationError as error:
            what = error.errors()[0]
            raise HistoryError(
                f"{path} line {number} is not a {kind.__name__.lower()} ({what['msg']}): restore the file from a copy, "
                "or move it away; the pointers stay as they are"
            ) from None
    return found, torn


def discrepancy(switches: Sequence[Switch], pointer: Pointer, named: str | None) -> str | None:
    """Return in words how what ``pointer`` names differs from the history's last switch of it, if it does."""
    of_pointer = [switch for switch in switches if switch.pointer == pointer]
    if not of_pointer or of_pointer[-1].after == named:
        return None
    last = of_pointer[-1]
    meant = f"{last.action} of {last.at:%Y-%m-%dT%H:%M:%SZ} from {_say(last.before)} to {_say(last.after)}"
    if last.before == named:
        return f"the {meant} was not completed: {pointer} still is {_say(named)}; repeat it if it is still wanted"
    return f"{pointer} is {_say(named)}, but the {meant} was the last switch: the file was written by hand"


def champion_before(switches: Sequence[Switch], named: str | None) -> str | None:
    """Return the champion that a rollback goes to from ``named``; ``None`` where there is none.

    A promotion goes forward, a rollback back to where it came from, so that a second one goes further back. A switch
    that was not completed changed nothing, and a file that was written by hand counts as a promotion.
    """
    of_champion = [switch for switch in switches if switch.pointer == "champion"]
    found_next = [*(switch.before for switch in of_champion), named][1:]
    path: list[str | None] = []
    for switch, found in zip(of_champion, found_next, strict=True):
        if not path or path[-1] != switch.before:
            path.append(switch.before)
        if found != switch.before:  # else it was not completed
            if switch.action == "rollback" and path[-2:-1] == [switch.after]:
                path.pop()
            else:
                path.append(switch.after)
    if not path or path[-1] != named:
        path.append(named)
    return path[-2] if len(path) > 1 else None


def _say(version: str | None) -> str:
    return "none" if version is None else repr(version)
