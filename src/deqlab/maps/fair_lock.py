"""A lock for evaluations that use what all threads share, held in the order in which they ask.

The random generators and the buffers of a module belong to no thread. Maps that use them are
evaluated by one thread at a time.
"""

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

PATIENCE = 5.0
"""Seconds that a thread waits for its turn. Who has the turn may itself wait for this thread (for a
collective operation, or in the backward pass): then both go on, rather than neither."""


class FairLock:
    """A lock that threads get in the order in which they ask; a thread may ask again within."""

    def __init__(self) -> None:
        self.guard = threading.Lock()
        self.waiting: deque[tuple[int, threading.Event]] = deque()
        self.owner: int | None = None
        self.depth = 0
        self.given = 0  # turns so far, those among them that were taken and not waited for
        self.own = threading.local()  # and how many of them this thread had

    @contextmanager
    def hold(self, patience: float = PATIENCE) -> Iterator[bool]:
        """Wait for the turn, and hold it; yield whether it came."""
        mine = self._ask(threading.get_ident(), patience)
        try:
            yield mine
        finally:
            if mine:
                self._pass_on()

    def of_others(self) -> tuple[bool, int]:
        """Return whether another thread has the turn, and how many turns others have had."""
        with self.guard:
            others = self.owner not in (None, threading.get_ident())
            return others, self.given - getattr(self.own, "count", 0)

    def _ask(self, me: int, patience: float) -> bool:
        with self.guard:
            if self.owner in (None, me):
                self.owner, self.depth, self.given = me, self.depth + 1, self.given + 1
                self._count()
                return True
            place = me, threading.Event()
            self.waiting.append(place)
        came = place[1].wait(patience)
        with self.guard:
            self._count()
            if not came and place in self.waiting:  # not even just now
                self.waiting.remove(place)
                self.given += 1
                return False
            return True

    def _count(self) -> None:
        self.own.count = getattr(self.own, "count", 0) + 1

    def _pass_on(self) -> None:
        with self.guard:
            self.depth -= 1
            if self.depth:
                return
            self.owner = None
            if self.waiting:
                self.owner, event = self.waiting.popleft()
                self.depth, self.given = 1, self.given + 1
                event.set()


LOCK = FairLock()

alone = LOCK.hold
"""Keep other threads from evaluating maps that draw random numbers or write buffers."""
