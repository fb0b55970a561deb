"""The window's definition in plain Python, a list per user. Shares no code with models.window.advance."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Entry:
    created_at_ms: int
    transaction: int
    amount: float
    merchant: int
    flags: int


@dataclass
class ReferenceWindow:
    length: int
    max_age_ms: int
    entries: list[Entry] = field(default_factory=list)

    def add(self, event: Entry) -> list[Entry]:
        """Return the window that the event is scored on, and keep the event."""
        for place, entry in enumerate(self.entries):
            if entry.transaction == event.transaction:
                return self._seen_from(self.entries[: place + 1])
        not_later = [entry for entry in self.entries if entry.created_at_ms <= event.created_at_ms]
        later = [entry for entry in self.entries if entry.created_at_ms > event.created_at_ms]
        self.entries = [*not_later, event, *later][-self.length :]
        return self._seen_from([*not_later, event])

    def _seen_from(self, entries: list[Entry]) -> list[Entry]:
        oldest = entries[-1].created_at_ms - self.max_age_ms
        return [entry for entry in entries if entry.created_at_ms >= oldest][-self.length :]
