"""Long listings, read at several places at once.

A page says where the next one begins, so a listing takes one answer of the server after the other.
But the keys of its first pages tell roughly which key is some pages further. A second listing
begins there while the first one is read up to there, a third one further on, and so on: windows,
whose entries are yielded in order. A wrong guess costs requests, never an entry: each window is
read until it overlaps with the next one, and both must have found the same there.
"""

from __future__ import annotations

import time
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import lru_cache
from itertools import islice, takewhile, zip_longest
from operator import attrgetter
from posixpath import commonprefix
from typing import TypeAlias

from cottoncandy.backends.base import CommonPrefix, ObjectInfo
from cottoncandy.backends.pages import Page
from cottoncandy.core.threads import in_background
from cottoncandy.exceptions import CottonCandyError, StoreError

#: Yields the pages of a listing that come after a key. The function says, before each of them is
#: read, whether to request the next one ahead.
Pages: TypeAlias = Callable[[str, Callable[[], bool]], Iterator[Page]]

_Entries: TypeAlias = list[ObjectInfo | CommonPrefix]

#: Pages of a listing after which it is split.
FIRST_PAGES = 3

#: A server that returns its second page faster is not asked for several at a time: it is near, and
#: additional requests would take more time than they save.
FAST_S = 0.03

#: Windows that are read or held at a time.
WINDOWS = 8

#: Pages that a window is meant to have. If it has more, it is read by twice as many at a time.
WINDOW_PAGES = 3

_SAMPLE = 8
_DIGITS = 8
_MAX_KEY_BYTES = 1024
_key = attrgetter("key")


def in_windows(pages: Pages, prefix: str, start_after: str) -> Iterator[ObjectInfo | CommonPrefix]:
    """Yield the entries of a listing without a delimiter, in order."""
    whole = _Window(pages, start_after)
    guess = _Guess(prefix)
    fast = False
    for number in range(FIRST_PAGES):
        begun = time.monotonic()
        page = next(whole.pages)
        fast = time.monotonic() - begun < FAST_S if number == 1 else fast
        entries = list(page.entries)
        yield from entries
        if not page.truncated:
            return
        guess.learn(entries, len(entries))
    if fast:
        for page in whole.pages:
            yield from page.entries
        return
    windows = _Windows(pages, guess, whole)
    try:
        yield from windows.entries()
    finally:
        windows.stop()


class _Window:
    """The entries of a listing after one key, up to and including another one, its end."""

    def __init__(self, pages: Pages, start: str, end: str = "") -> None:
        self.start, self.end = start, end
        self.pages = pages(start, lambda: not self.end)
        self.page_size = 0
        self.complete = False  # whether the listing itself ends here
        self.stopped = False

    def begin(self) -> None:
        """Read some pages in another thread."""
        self._batch: Future[_Entries] = in_background(self._read)

    def _read(self) -> _Entries:
        found: _Entries = []
        for page in islice(self.pages, 2 * WINDOW_PAGES):
            before = len(found)
            found += page.entries
            self.page_size = max(self.page_size, len(found) - before)
            self.complete = not page.truncated
            if self.stopped or (self.end and found and found[-1].key > self.end):
                break
        return found

    def result(self) -> _Entries:
        """Wait for these pages."""
        return self._batch.result()

    def begins_with(self, entries: _Entries) -> bool:
        """Return whether another listing found the same after ``start``."""
        try:
            found = self.result()
        except CottonCandyError:  # the listing in order raises it again, if the guess is not why
            return False
        pairs = zip_longest(found[: len(entries)], entries)
        return all(mine.key == its.key if mine else not self.complete for mine, its in pairs)


class _Windows:
    """The rest of a listing, in windows.

    Parameters
    ----------
    pages : callable
    guess : _Guess
        Extrapolates the names.
    rest : _Window
        The whole rest.
    """

    def __init__(self, pages: Pages, guess: _Guess, rest: _Window) -> None:
        self._pages, self._guess = pages, guess
        self._windows = deque([rest])
        self._wasted, self._stretch = 0, 1

    def stop(self) -> None:
        """Request no more."""
        for window in self._windows:
            window.stopped = True

    def entries(self) -> Iterator[ObjectInfo | CommonPrefix]:
        """Yield the entries of all windows, in order."""
        windows, guess = self._windows, self._guess
        windows[0].begin()
        self._split(0, guess.last, WINDOWS)
        while True:
            window = windows[0]
            found = window.result()
            if window.complete:
                yield from found
                return
            if len(windows) == 1:  # the end was meant for another window that was not begun
                window.end = ""
            inside = bisect_right(found, window.end, key=_key) if window.end else len(found)
            if inside == len(found):  # there is more in it than was guessed
                guess.forget()
                guess.learn(found, window.page_size)
                self._stretch = 1
                window.begin()
                self._split(0, guess.last, WINDOWS if len(windows) == 1 else 3 * WINDOWS // 2)
                yield from found
                continue
            guess.learn(found[:inside], window.page_size)
            few = inside < guess.page_size / 2
            self._wasted, self._stretch = self._wasted + few, self._stretch * 2 if few else 1
            windows.popleft()
            self._split(len(windows) - 1, windows[-1].start, WINDOWS)
            yield from islice(found, inside)
            if not windows[0].begins_with(found[inside:]):
                # The server does not begin where it was told to, or someone changes these objects.
                self.stop()
                window.end = ""
                yield from islice(found, inside, None)
                for page in window.pages:
                    yield from page.entries
                return

    def _split(self, index: int, key: str, limit: int) -> None:
        """Split a window, whose next entries come after ``key``, as far as windows are left."""
        windows, seen = self._windows, self._guess.pages
        while len(windows) < min(limit, seen) and self._wasted < 2 + seen / 4:
            window, last = windows[index], index == len(windows) - 1
            start = window.end if last and window.end else self._ahead(key)
            if not start or (window.end and start >= window.end and not last):
                return
            # The last window has an end, too: it would be read further than where the next begins.
            new = _Window(self._pages, start, self._ahead(start) if last else window.end)
            try:
                new.begin()
            except StoreError:  # no more threads
                return
            window.end = key = start
            index += 1
            windows.insert(index, new)

    def _ahead(self, key: str) -> str:
        found = self._guess.ahead(key, WINDOW_PAGES * self._stretch)
        return found if found > key else ""


class _Guess:
    """Extrapolates a listing from the names that it has returned.

    Names are numbers, whose digits are the characters that were seen in their place. Up to the
    first place that changes, these are all characters of the same kinds: of numbers in names, only
    the first ones were seen.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._columns: list[set[str]] = []
        self._characters: set[str] = set()
        self._points: deque[tuple[str, int]] = deque(maxlen=9)
        self.page_size = 1
        self._count = 0
        self.last = self._first = ""

    @property
    def pages(self) -> int:
        """How many pages were seen."""
        return self._count // self.page_size

    def learn(self, entries: _Entries, page_size: int) -> None:
        """Remember where some pages end, and some of their names."""
        if not entries:
            return
        self.page_size = max(self.page_size, page_size)
        skip = len(self._prefix)
        if not self._points:
            self._first = entries[0].key[skip:]
            self._points.append((self._first, 0))
        self.last = entries[-1].key
        self._count += len(entries)
        names = [entry.key[skip:] for entry in entries[::_SAMPLE]] + [self.last[skip:]]
        for place, column in enumerate(zip_longest(*names, fillvalue="")):
            if place == len(self._columns):
                self._columns.append(set())
            self._columns[place].update(each for each in set(column) if each.isprintable())
            self._characters |= self._columns[place]
        if len(entries) > self.page_size / 2:
            self._points.append((self.last[skip:], self._count))

    def forget(self) -> None:
        """Forget how far the names were from each other before the last ones."""
        while len(self._points) > 1:
            self._points.popleft()

    def ahead(self, key: str, pages: int) -> str:
        """Return about which key comes some pages after one; ``''`` if none can be told."""
        (first, before), (last, count) = self._points[0], self._points[-1]
        name = key[len(self._prefix) :]
        changed = len(commonprefix([self._first, last, name]))
        shared = len(commonprefix([first, last, name]))
        begin = max(changed - _DIGITS, 0)
        wheels = [sorted(column) or [""] for column in self._columns[begin : shared + _DIGITS]]
        for place, wheel in enumerate(wheels[: changed - begin + 1]):
            kinds = set(map(_kind, wheel))
            wheels[place] = sorted({*wheel, *(c for c in self._characters if _kind(c) in kinds)})

        def number(name: str) -> int:
            value = 0
            for place, wheel in enumerate(wheels):
                digit = bisect_left(wheel, name[begin + place : begin + place + 1])
                value = value * len(wheel) + min(digit, len(wheel) - 1)
            return value

        distance = (number(last) - number(first)) * pages * self.page_size
        value = number(name) + max(distance // max(count - before, 1), 1)
        digits = []
        for wheel in reversed(wheels):
            value, digit = divmod(value, len(wheel))
            digits.append(wheel[digit])
        text = "".join(takewhile(bool, reversed(digits)))
        found = self._prefix + name[:begin] + text
        return found if not value and len(found.encode()) <= _MAX_KEY_BYTES else ""


@lru_cache(1024)
def _kind(character: str) -> object:
    alphanumeric = character.isalnum()
    return (character.isdigit(), character.isupper()) if alphanumeric else character
