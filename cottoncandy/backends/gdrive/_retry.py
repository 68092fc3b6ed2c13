"""Trying again: which errors, how often, and how long to wait."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from cottoncandy.backends.gdrive._errors import DriveApiError, DriveConnectionError

__all__ = ["RetryPolicy"]

T = TypeVar("T")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RetryPolicy:
    """Exponential backoff with full jitter, as Drive's documents ask for, and a total limit.

    Parameters
    ----------
    attempts : int, default 8
        How often a request is sent at most.
    first_s, longest_s : float, default 1 and 32
        The first wait is between 0 and ``first_s`` seconds; the bound doubles up to ``longest_s``.
    total_s : float, default 180
        No further try once this much time has gone by.
    sleep, clock, random : callable
        For tests.
    """

    attempts: int = 8
    first_s: float = 1.0
    longest_s: float = 32.0
    total_s: float = 180.0
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False)
    clock: Callable[[], float] = field(default=time.monotonic, repr=False)
    random: Callable[[], float] = field(default=random.random, repr=False)

    def run(self, action: Callable[[], T], what: str) -> T:
        """Return what ``action`` returns; try again after transient errors.

        ``action`` must do no harm when it is done twice. The last error is raised as it is.
        """
        begin = self.clock()
        attempt = 0
        while True:
            wait = self.random() * min(self.first_s * 2**attempt, self.longest_s)
            attempt += 1
            try:
                return action()
            except (DriveApiError, DriveConnectionError) as fault:
                late = self.clock() - begin + wait > self.total_s
                if not fault.transient or attempt >= self.attempts or late:
                    raise
                _log.info("Google Drive, %s: %s; next try in %.1f s", what, fault, wait)
            self.sleep(wait)
