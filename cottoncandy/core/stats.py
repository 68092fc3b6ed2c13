"""Counts of requests and bytes."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass

from cottoncandy.core.buffers import Buffer
from cottoncandy.core.threads import after_fork


@dataclass(frozen=True, slots=True)
class Stats:
    """Counts of what an interface has sent and received: ``cci.stats`` at one moment.

    Two of them subtract, so that a part of a program can be measured.

    Parameters
    ----------
    requests : int
        Requests that were sent, repeated ones included.
    bytes_sent, bytes_received : int
        Bytes of their bodies, without headers, as they crossed the network: compressed, encrypted,
        and more than once if they were repeated. The texts of error responses are not counted.
    retries : int
        Requests that repeated another one, or continued it, after an error.

    Examples
    --------
    >>> import cottoncandy, numpy as np
    >>> cci = cottoncandy.get_interface("bucket", backend="memory", verbose=False)
    >>> before = cci.stats
    >>> response = cci.upload_raw_array("array", np.zeros(1000), compression=False)
    >>> cci.stats - before
    Stats(requests=1, bytes_sent=8000, bytes_received=0, retries=0)
    """

    requests: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    retries: int = 0

    def __sub__(self, earlier: Stats) -> Stats:
        if not isinstance(earlier, Stats):
            return NotImplemented
        pairs = zip(astuple(self), astuple(earlier), strict=True)
        return Stats(*(now - before for now, before in pairs))


class Counter:
    """Counts the requests of one connection in this process, from any thread.

    Forked children and unpickled copies begin at zero.
    """

    def __init__(self) -> None:
        self._reset()
        after_fork(self._reset)

    def __reduce__(self) -> tuple[type[Counter], tuple[()]]:
        return Counter, ()

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._counts = (0, 0, 0, 0)

    def add(self, requests: int = 0, sent: int = 0, received: int = 0, retries: int = 0) -> None:
        """Add to the counts."""
        with self._lock:
            old = self._counts
            self._counts = (old[0] + requests, old[1] + sent, old[2] + received, old[3] + retries)

    def sent(self, blocks: Iterable[Buffer]) -> Iterator[Buffer]:
        """Yield the blocks of a body, and count their bytes after they were sent."""
        for block in blocks:
            yield block
            self.add(sent=memoryview(block).nbytes)

    def received(self, pieces: Iterator[Buffer]) -> Iterator[Buffer]:
        """Yield the pieces of a body, and count their bytes as they arrive."""
        for piece in pieces:
            self.add(received=len(piece))
            yield piece

    def read(self) -> Stats:
        """Return the present counts."""
        return Stats(*self._counts)
