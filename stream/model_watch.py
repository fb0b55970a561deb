"""The model store as a running scorer follows it: what a pointer names now is verified beside the traffic.

Reading the store, sums, golden outputs: all of it happens in a thread of its own, for a store may be far away or hang.
Hashing, making a session and the golden runs leave Python's lock alone, so scoring goes on (docs/models.md).
"""

import logging
from collections.abc import Callable

from models.bundle import LoadedBundle
from models.store import Store
from models.switches import Pointer
from stream.metrics import Metrics

log = logging.getLogger(__name__)

#: Raises BundleError for one that this process cannot go over to, OSError where it cannot be told now.
Take = Callable[[LoadedBundle], None]


class ModelWatch:
    """One pointer of the store; one thread looks.

    What is refused is refused once, and tried again only when the pointer names another bundle in between, or when the
    directory that it names comes or goes.
    """

    def __init__(
        self,
        store: Store,
        pointer: Pointer,
        in_force: str | None,
        take: Take,
        metrics: Metrics,
        leave: Callable[[], None] | None = None,  # once the pointer names nothing any more, where that may be
    ) -> None:
        self._store, self._pointer, self._metrics = store, pointer, metrics
        self._take, self._leave = take, leave
        self._in_force = in_force  # the bundle of the store that was taken last
        self._seen: tuple[str, bool] | None = None  # name, and whether there is such a directory
        self._readable = True
        metrics.bundles_refused.labels(pointer)  # so that the first one is an increase
        metrics.refusing_bundle.labels(pointer).set(0)
        metrics.model_store_read.set_to_current_time()  # a store that never is readable is late from here on

    def look(self) -> None:
        """Read the pointer; verify and take what it names, if that is news. Whatever happens is counted and logged."""
        try:
            self._follow(self._named())
        except OSError as error:
            self._metrics.model_store_errors.inc()
            if self._readable:
                log.warning(
                    "the model store cannot be followed; what is in force goes on, and it is tried again",
                    extra={"pointer": self._pointer, "store": str(self._store.root), "error": str(error)},
                )
            self._readable = False
        else:
            self._metrics.model_store_read.set_to_current_time()
            self._readable = True

    def again(self) -> None:
        """Forget what was taken or refused: with the next look it may be answered otherwise."""
        self._in_force = self._seen = None

    def _named(self) -> str | None:
        name = self._store.named(self._pointer)
        if name is None and self._in_force is not None and self._leave is None:
            # a store never takes its champion away: a mount that is gone?
            raise FileNotFoundError(f"{self._store.root / self._pointer} is gone")
        return name

    def _follow(self, name: str | None) -> None:
        sight = None if name is None else (name, (self._store.root / name).is_dir())
        if sight == self._seen:
            return
        if name is None and self._leave is not None:
            self._leave()
            self._in_force = None
        elif name is not None and name != self._in_force:
            self._go_over_to(name)
        self._seen = sight
        self._metrics.refusing_bundle.labels(self._pointer).set(name not in {None, self._in_force})

    def _go_over_to(self, name: str) -> None:
        if self._readable:
            log.info("the model store names another bundle", extra={"pointer": self._pointer, "model_version": name})
        try:
            self._take(self._store.verify(name))
        except OSError:
            raise
        except Exception as error:  # noqa: BLE001 -- a runtime's errors have no common class
            self._refuse(name, error)
        else:
            self._in_force = name

    def _refuse(self, name: str, error: Exception) -> None:
        self._metrics.bundles_refused.labels(self._pointer).inc()
        log.error(
            "a bundle was refused; what is in force goes on",
            extra={"pointer": self._pointer, "model_version": name, "error": str(error)},
        )
