"""Recorders of transfers: bytes over time, for one ``CloudFiles`` call or for the whole machine."""

from __future__ import annotations

import enum
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable
from functools import partialmethod
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from cottoncandy.core.threads import ForkSafeLock
from cottoncandy.exceptions import MissingDependencyError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["IOEnum", "IOSampler", "TransmissionMonitor"]

_EPSILON_S = 1e-7
_MAX_KEPT = 8192  # transfers
_recording = ForkSafeLock()


class IOEnum(enum.Enum):
    """Direction of a transfer."""

    RX = 1
    TX = 2


class Flight(NamedTuple):
    """One transfer: when it began and ended, and its bytes."""

    start: float
    end: float
    nbytes: float


class TransmissionMonitor:
    """A record of the transfers of one call: when each began and ended, and its bytes.

    Parameters
    ----------
    direction : IOEnum
        ``RX`` for downloads, ``TX`` for uploads.

    Notes
    -----
    Any thread may record. From 8,192 transfers on, pairs are joined, so that memory does not grow
    with their number. Rates are in bits per second unless the name says otherwise. Times are those
    of ``time.time()``.
    """

    def __init__(self, direction: IOEnum) -> None:
        self.direction = direction
        self.errors: set[uuid.UUID] = set()
        self._flights: list[Flight] = []
        self._begun: dict[uuid.UUID, float] = {}

    @classmethod
    def merge(cls, tms: Iterable[Self]) -> Self:
        """Return one record of all transfers in several.

        Parameters
        ----------
        tms : iterable of TransmissionMonitor
        """
        records = list(tms)
        merged = cls(records[0].direction if records else IOEnum.RX)
        for each in records:
            merged.add(each)
        return merged

    def add(self, other: Self) -> None:
        """Add the transfers of another record."""
        self.errors |= other.errors
        for flight in other._flights:
            self._record(flight)

    def start_io(self, num_bytes: int, start_time: float | None = None) -> uuid.UUID:
        """Record the start of a transfer; return its identifier."""
        flight = uuid.uuid4()
        self._begun[flight] = time.time() if start_time is None else start_time
        return flight

    def end_io(self, flight_id: uuid.UUID, num_bytes: int) -> None:
        """Record the end of a transfer of ``num_bytes`` bytes."""
        self._record(Flight(self._begun.pop(flight_id), time.time(), num_bytes))

    def _record(self, flight: Flight) -> None:
        with _recording:
            self._flights.append(flight)
            if len(self._flights) == _MAX_KEPT:
                pairs = zip(self._flights[::2], self._flights[1::2], strict=True)
                self._flights = [
                    Flight(min(a.start, b.start), max(a.end, b.end), a.nbytes + b.nbytes)
                    for a, b in pairs
                ]

    def end_error(self, flight_id: uuid.UUID) -> None:
        """Record that a transfer failed."""
        self._begun.pop(flight_id)
        self.errors.add(flight_id)

    def total_bytes(self) -> int:
        """Return the number of bytes of all transfers."""
        return int(sum(count for _, _, count in self._flights))

    def start_unix_time(self) -> float:
        """Return when the first transfer began; 0 without one."""
        return min((start for start, _, _ in self._flights), default=0.0)

    def end_unix_time(self) -> float:
        """Return when the last transfer ended; 0 without one."""
        return max((end for _, end, _ in self._flights), default=0.0)

    def total_bps(self) -> float:
        """Return the mean rate from the first start to the last end."""
        duration = self.end_unix_time() - self.start_unix_time()
        return 8 * self.total_bytes() / max(duration, _EPSILON_S) if self._flights else 0.0

    def current_bps(self, look_back_sec: float = 2.0) -> float:
        """Return the mean rate of the last seconds."""
        now = time.time()
        since = max(now - look_back_sec, self.start_unix_time())
        bits = 8 * sum(
            count * max(end - max(start, since), 0.0) / max(end - start, _EPSILON_S)
            for start, end, count in self._flights
        )
        return bits / max(now - since, _EPSILON_S)

    def peak_bps(self) -> float:
        """Return the largest rate within one second."""
        return 8.0 * float(self.histogram().max(initial=0))

    def histogram(self, resolution: float = 1.0) -> NDArray[np.uint32]:
        """Return the bytes transferred in each interval of ``resolution`` seconds."""
        import numpy as np  # not for each copy: it takes longer to load than many files do

        if not self._flights:
            return np.zeros(0, np.uint32)
        first, last = self.start_unix_time(), self.end_unix_time()
        bins = np.zeros(max(int(np.ceil((last - first) / resolution)), 1))
        for start, end, count in self._flights:
            span = (start - first) / resolution, (max(start, end) - first) / resolution
            low, high = (min(int(at), len(bins) - 1) for at in span)
            arrived = np.interp(np.arange(low, high + 2), span, (0, count))
            arrived[0], arrived[-1] = 0, count  # of what took no time, too
            bins[low : high + 1] += np.diff(arrived)
        return np.round(bins).astype(np.uint32)

    def _scaled(self, rate: str, scale: float, *args: Any, **kwargs: Any) -> float:
        bits: float = getattr(self, rate)(*args, **kwargs)
        return bits / scale

    total_Mbps = partialmethod(_scaled, "total_bps", 1e6)  # noqa: N815 - the established names
    total_Gbps = partialmethod(_scaled, "total_bps", 1e9)  # noqa: N815 - the established names
    total_MBps = partialmethod(_scaled, "total_bps", 8e6)  # noqa: N815 - the established names
    total_GBps = partialmethod(_scaled, "total_bps", 8e9)  # noqa: N815 - the established names
    current_Mbps = partialmethod(_scaled, "current_bps", 1e6)  # noqa: N815 - the established names
    current_Gbps = partialmethod(_scaled, "current_bps", 1e9)  # noqa: N815 - the established names
    current_MBps = partialmethod(_scaled, "current_bps", 8e6)  # noqa: N815 - the established names
    current_GBps = partialmethod(_scaled, "current_bps", 8e9)  # noqa: N815 - the established names


class IOSampler:
    """Samples of the bytes that this machine received and sent, over all network interfaces.

    Parameters
    ----------
    buffer_sec : float, default 600
        How long samples are kept, in seconds.
    interval : float, default 0.25
        Seconds between samples.

    Raises
    ------
    MissingDependencyError
        If psutil is not installed, by :meth:`start_sampling`.
    """

    def __init__(self, buffer_sec: float = 600.0, interval: float = 0.25) -> None:
        self.interval = interval
        self._samples: deque[tuple[int, int, float]] = deque(maxlen=int(buffer_sec / interval) + 1)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start_sampling(self, force: bool = False) -> None:
        """Start, unless samples are taken already; ``force`` starts again."""
        if self.is_sampling() and not force:
            return
        try:
            from psutil import net_io_counters
        except ImportError as exc:
            raise MissingDependencyError("IOSampler needs psutil: pip install psutil") from exc
        self.stop_sampling()
        self._samples.clear()
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=self._sample, args=(self._stop, net_io_counters), daemon=True
        )
        self._thread.start()

    def _sample(self, stop: threading.Event, counters: Callable[[], Any]) -> None:
        while True:
            found = counters()
            self._samples.append((found.bytes_recv, found.bytes_sent, time.time()))
            if stop.wait(self.interval):
                return

    def stop_sampling(self) -> None:
        """Take a last sample and stop."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def is_sampling(self) -> bool:
        """Return whether samples are being taken."""
        return self._thread is not None

    def num_samples(self) -> int:
        """Return the number of samples."""
        return len(self._samples)

    def start_time(self) -> float:
        """Return when the oldest sample was taken; 0 without one."""
        return self._samples[0][2] if self._samples else 0.0

    def end_time(self) -> float:
        """Return when the last sample was taken; 0 without one."""
        return self._samples[-1][2] if self._samples else 0.0

    def samples(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """Return total bytes received, total bytes sent, and times."""
        import numpy as np

        taken = list(self._samples)
        received, sent, times = zip(*taken, strict=True) if taken else ((), (), ())
        return np.array(received, np.int64), np.array(sent, np.int64), np.array(times, np.float64)

    def current_bps(self, look_back_sec: float = 2.0) -> tuple[float, float]:
        """Return the rates of the last seconds, received and sent."""
        import numpy as np

        received, sent, times = self.samples()
        keep = times >= (times[-1] - look_back_sec if len(times) else 0)
        span = max(float(np.ptp(times[keep])), _EPSILON_S) if keep.any() else 1.0
        rx, tx = (float(np.ptp(each[keep])) if keep.any() else 0.0 for each in (received, sent))
        return 8 * rx / span, 8 * tx / span

    def peak_bps(self, window: float = 1.0) -> tuple[float, float]:
        """Return the largest rates within a window of seconds, received and sent."""
        rx, tx = self.histogram_rx(window), self.histogram_tx(window)
        return 8 * float(rx.max(initial=0)) / window, 8 * float(tx.max(initial=0)) / window

    def histogram_rx(self, resolution: float = 1.0) -> NDArray[np.uint32]:
        """Return the bytes received in each interval of ``resolution`` seconds."""
        return self._histogram(0, resolution)

    def histogram_tx(self, resolution: float = 1.0) -> NDArray[np.uint32]:
        """Return the bytes sent in each interval of ``resolution`` seconds."""
        return self._histogram(1, resolution)

    def _histogram(self, column: int, resolution: float) -> NDArray[np.uint32]:
        import numpy as np

        samples = self.samples()
        totals, times = samples[column], samples[2]
        if len(times) < 2:
            return np.zeros(0, np.uint32)
        slots = ((times[1:] - times[0]) / resolution).astype(int)
        return np.bincount(slots, np.diff(totals)).astype(np.uint32)

    def __enter__(self) -> Self:
        self.start_sampling()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop_sampling()
