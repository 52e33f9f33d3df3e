"""Things made ahead by threads, so that a device that computes fast need not wait for what it computes on."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, TypeVar

T = TypeVar("T")


class ReadAhead(Generic[T]):
    """`make(step)` for steps one after the other, the next ones under way in threads; used as a context.

    Parameters
    ----------
    make : what makes the thing of a step; the same whichever thread calls it and when.
    first, end : the first step, and the one after the last.
    threads : how many; with 0 each thing is made when it is asked for.
    """

    def __init__(self, make: Callable[[int], T], first: int, end: int, threads: int) -> None:
        self.make, self.end, self.threads = make, end, threads
        self.next = first
        self.pool = ThreadPoolExecutor(threads) if threads else None
        self.waiting: deque[Future[T]] = deque()

    def __enter__(self) -> "ReadAhead[T]":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.pool is not None:
            self.pool.shutdown(cancel_futures=True)

    def take(self) -> T:
        """The thing of the next step; what went wrong in making it is raised here."""
        if self.pool is None:
            self.next += 1
            return self.make(self.next - 1)
        while len(self.waiting) < 2 * self.threads and self.next < self.end:
            self.waiting.append(self.pool.submit(self.make, self.next))
            self.next += 1
        return self.waiting.popleft().result()
