"""Something that is looked at again and again, in a thread of its own."""

import threading
from collections.abc import Callable


def look_every(every_s: float, look: Callable[[], None], name: str, stop: threading.Event) -> threading.Thread:
    """Look at once, and then every ``every_s`` seconds until ``stop`` is set; return the thread that does.

    A look that hangs keeps no process alive.
    """

    def looking() -> None:
        while not stop.is_set():
            look()
            stop.wait(every_s)

    thread = threading.Thread(target=looking, name=name, daemon=True)
    thread.start()
    return thread
