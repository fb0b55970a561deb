"""``tenfold score`` that ends or stops itself at a boundary: ``python -m tests.chaos.stopping_scorer --at POINT``.

Production code has no hooks for this; the functions at the boundary are wrapped here, before the scorer starts.
SIGKILL leaves no chance to tidy up, as a crash does; SIGSTOP makes a zombie of it until somebody sends SIGCONT.
"""

import argparse
import itertools
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any

import confluent_kafka

from models.window import Windows
from stream import catch_up, cli, held_windows, publisher, scorer
from stream.catch_up import Recoverer
from stream.held_windows import HeldWindows
from stream.publisher import TransactionalPublisher
from stream.window_store import Mark, Save, WindowStore
from tests.lost_consumers import LostConsumer, UnheardConsumer

Die = Callable[[], None]


def before_first_offset(die: Die) -> None:
    """A fresh group's first offset is about to be committed."""

    class Consumer(confluent_kafka.Consumer):
        def commit(self, *args: Any, **options: Any) -> Any:
            die()
            return super().commit(*args, **options)

    scorer.Consumer = Consumer


def after_first_offset(die: Die) -> None:
    """A fresh group's first offset is committed, and there is no mark yet."""

    class Consumer(confluent_kafka.Consumer):
        def commit(self, *args: Any, **options: Any) -> Any:
            committed = super().commit(*args, **options)
            die()
            return committed

    scorer.Consumer = Consumer


def before_publish(die: Die) -> None:
    """A batch is scored, and nothing of it is on its way."""
    publish = TransactionalPublisher.publish

    def publish_late(self: TransactionalPublisher, *args: Any) -> None:
        die()
        publish(self, *args)

    TransactionalPublisher.publish = publish_late  # type: ignore[method-assign]


def before_commit(die: Die) -> None:
    """Scores and offsets are in an open transaction."""

    class Producer(confluent_kafka.Producer):
        def commit_transaction(self, *args: Any) -> Any:
            self.flush(5)  # the scores are in the log, and must never be readable
            die()
            return super().commit_transaction(*args)

    publisher.Producer = Producer


def after_commit(die: Die) -> None:
    """The transaction is committed and the windows are not saved."""

    class Producer(confluent_kafka.Producer):
        def commit_transaction(self, *args: Any) -> Any:
            super().commit_transaction(*args)
            die()

    publisher.Producer = Producer


def half_saved(die: Die) -> None:
    """The windows of the first of several partitions are saved, those of the others are not."""
    save = WindowStore.save

    def save_half(self: WindowStore, requests: Sequence[Save]) -> list[bool]:
        if len(requests) < 2:
            return save(self, requests)
        done = save(self, requests[: len(requests) // 2])
        die()
        return [*done, *save(self, requests[len(requests) // 2 :])]

    WindowStore.save = save_half  # type: ignore[method-assign]


def after_save(die: Die) -> None:
    """A batch is done, and the next one is on its way."""
    save = WindowStore.save

    def save_all(self: WindowStore, requests: Sequence[Save]) -> list[bool]:
        done = save(self, requests)
        die()
        return done

    WindowStore.save = save_all  # type: ignore[method-assign]


def catching_up(die: Die) -> None:
    """Windows are being rebuilt or brought up to date from the log, and some of them are saved."""
    catch_up._CHUNK = 100
    held_windows._SLICE = 20
    advance_stored, move = catch_up.advance_stored, HeldWindows._move

    def advance_one(*args: Any) -> bool:
        done = advance_stored(*args)
        die()
        return done

    def move_one(self: HeldWindows, mark: Mark, users: Sequence[bytes], windows: Windows) -> None:
        move(self, mark, users, windows)
        if users:
            die()

    catch_up.advance_stored = advance_one
    HeldWindows._move = move_one  # type: ignore[method-assign]


def new_epoch(die: Die) -> None:
    """A new epoch has its mark and no window yet."""
    begin = Recoverer._begin

    def begin_and_die(self: Recoverer, *args: Any) -> Mark:
        mark = begin(self, *args)
        die()
        return mark

    Recoverer._begin = begin_and_die  # type: ignore[method-assign]


def lose_consumer(die: Die) -> None:  # noqa: ARG001 -- nobody dies of it
    """The first consumer has no broker any more."""
    scorer.Consumer = LostConsumer


def leave_unheard(die: Die) -> None:  # noqa: ARG001 -- nobody dies of it
    """The first consumer has neither brokers nor partitions any more, of which no error tells."""
    scorer.Consumer = UnheardConsumer


POINTS: dict[str, Callable[[Die], None]] = {
    stop.__name__.replace("_", "-"): stop
    for stop in (
        before_first_offset,
        after_first_offset,
        before_publish,
        before_commit,
        after_commit,
        half_saved,
        after_save,
        catching_up,
        new_epoch,
        lose_consumer,
        leave_unheard,
    )
}


def main() -> None:
    """Run ``tenfold score`` until it comes to the point for the N-th time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--at", choices=POINTS, required=True)
    parser.add_argument("--after", type=int, default=1, help="times")
    parser.add_argument("--signal", choices=("SIGKILL", "SIGSTOP"), default="SIGKILL")
    options = parser.parse_args()
    times = itertools.count(1)

    def die() -> None:
        if next(times) == options.after:
            os.kill(os.getpid(), signal.Signals[options.signal])

    POINTS[options.at](die)
    sys.argv = ["tenfold", "score"]
    cli.main()


if __name__ == "__main__":
    main()
