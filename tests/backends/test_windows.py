"""Listings that are read in windows, next to the plain listing; servers that begin elsewhere."""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Callable, Generator, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cottoncandy.backends import windows
from cottoncandy.backends.base import ObjectInfo
from cottoncandy.backends.pages import Page
from cottoncandy.backends.windows import FIRST_PAGES, WINDOW_PAGES, WINDOWS, in_windows
from cottoncandy.exceptions import AccessDeniedError, StoreError
from tests.cases import CHARACTERS, each


@pytest.fixture(autouse=True, scope="module")
def slow() -> Iterator[None]:
    """Treat these servers as slow ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(windows, "FAST_S", 0.0)
        yield


class Server:
    """Lists some keys, and counts the pages that are requested."""

    def __init__(self, keys: list[str], page_size: int = 10) -> None:
        self.keys, self.page_size = keys, page_size
        self.requests = 0
        self.starts: list[str] = []
        self._lock = threading.Lock()

    def begin(self, start: str) -> int:
        """Return the position of the first key of a listing."""
        return bisect_right(self.keys, start)

    def pages(self, start: str, ahead: Callable[[], bool]) -> Iterator[Page]:
        with self._lock:
            self.starts.append(start)
        at = self.begin(start)
        while True:
            with self._lock:
                self.requests += 1
            keys = self.keys[at : at + self.page_size]
            at += self.page_size
            more = at < len(self.keys)
            ahead()
            yield Page([ObjectInfo(key, 1) for key in keys], [], more, None)
            if not more:
                return

    def list(self, prefix: str = "", start: str = "") -> list[str]:
        return [entry.key for entry in in_windows(self.pages, prefix, start)]

    @property
    def least(self) -> int:
        """How many requests a listing in order takes."""
        return max(-(-len(self.keys) // self.page_size), 1)


NUMBERED = [f"a/{number:04}.npy" for number in range(600)]
HASHED = sorted(f"a/{pow(7, number, 65537):04x}" for number in range(600))
NESTED = [
    f"a/sub{s:02}/run{r}/{n:03}" for s in range(1, 11) for r in range(1, 5) for n in range(15)
]
FEW_DIRECTORIES = sorted(f"a/dir{number % 7}/key{number:06}" for number in range(600))
UNPADDED = sorted(f"a/{number}.{number % 7}" for number in range(600))
WIDE = [f"a/é{chr(0x4E00 + number)}" for number in range(600)]


@each(
    "keys, faster",
    [
        (NUMBERED, True),
        (HASHED, True),
        (NESTED, True),
        (FEW_DIRECTORIES, True),
        (UNPADDED, True),
        (WIDE, False),
        ([f"a/{'x' * 900}{number:04}" for number in range(600)], True),
        ([f"a/{'é' * 511}{number:04}" for number in range(600)], False),  # no longer key is allowed
        ([f"a/\x01{chr(1 + number // 200)}{number:03}" for number in range(600)], False),
    ],
)
def test_windows_find_what_the_listing_in_order_finds(keys: list[str], faster: bool) -> None:
    server = Server(keys)
    assert server.list("a/") == keys
    assert server.requests <= 2 * server.least
    assert len(server.starts) > 10 or not faster
    for start in server.starts:
        assert len(start.encode()) <= 1024
        assert start.replace("\x01", "").isprintable()
    assert Server(keys).list("a/", keys[55]) == keys[56:]


_NAME = st.text(CHARACTERS, min_size=1, max_size=6)
_NAMES = st.lists(
    st.one_of(
        _NAME,
        st.lists(st.sampled_from(["a", "b", "run1", "run2", "0", "1", "9", "é", "\U0001f600"]))
        .filter(bool)
        .map("/".join),
        st.integers(0, 999).map("x/{:03}".format),
    ),
    unique=True,
    min_size=1,
    max_size=60,
)


@given(_NAMES, st.integers(1, 7), st.integers(0, 60))
@settings(deadline=None)
def test_order_is_kept(names: list[str], page_size: int, taken: int) -> None:
    keys = sorted("p/" + name for name in names)
    server = Server(keys, page_size)
    assert server.list("p/") == keys
    assert server.requests <= 2 * server.least + WINDOWS
    found = in_windows(Server(keys, page_size).pages, "p/", "")
    assert [entry.key for entry, _ in zip(found, range(taken), strict=False)] == keys[:taken]
    assert isinstance(found, Generator)
    found.close()


def test_short_listings_are_not_split() -> None:
    for count in range(10 * FIRST_PAGES + 1):
        server = Server(NUMBERED[:count])
        assert server.list() == NUMBERED[:count]
        assert server.requests == server.least


def test_fast_server_is_listed_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "FAST_S", 1e6)
    server = Server(NUMBERED)
    assert server.list("a/") == NUMBERED
    assert server.requests == server.least


def test_caller_that_stops_leaves_no_requests() -> None:
    server = Server(NUMBERED)
    before = set(threading.enumerate())
    found = in_windows(server.pages, "a/", "")
    for _ in range(10 * FIRST_PAGES + 1):
        next(found)
    assert isinstance(found, Generator)
    found.close()
    assert server.requests <= FIRST_PAGES + 2 * WINDOWS * WINDOW_PAGES
    for thread in set(threading.enumerate()) - before:
        thread.join(10)
        assert not thread.is_alive()


def test_what_is_held_is_bounded() -> None:
    keys = [f"a/{number:05}" for number in range(5000)]
    server = Server(keys)
    for count, entry in enumerate(in_windows(server.pages, "a/", "")):
        assert entry.key == keys[count]
        assert server.requests <= 2 * (count / 10 + 2 * WINDOWS * WINDOW_PAGES)
    assert server.requests <= 1.5 * server.least


class _Ignores(Server):
    def begin(self, start: str) -> int:
        return 0


class _Skips(Server):
    def begin(self, start: str) -> int:
        return super().begin(start) + 3 * bool(start)


class _Empty(Server):
    def begin(self, start: str) -> int:
        return len(self.keys) if start else 0


class _Fails(Server):
    def begin(self, start: str) -> int:
        if start and len(self.starts) > 3:
            raise StoreError("the key is too odd")
        return super().begin(start)


@each("kind", [_Ignores, _Skips, _Empty, _Fails])
def test_server_that_begins_elsewhere_is_listed_in_order(kind: type[Server]) -> None:
    for keys in (NUMBERED, NESTED, FEW_DIRECTORIES):
        server = kind(keys)
        assert server.list("a/") == keys
        assert server.requests <= server.least + 3 * WINDOWS * WINDOW_PAGES


def test_error_of_the_listing_itself_is_raised() -> None:
    class Denies(Server):
        def pages(self, start: str, ahead: Callable[[], bool]) -> Iterator[Page]:
            for page in super().pages(start, ahead):
                if page.objects[-1].key > NUMBERED[300]:
                    raise AccessDeniedError("no more")
                yield page

    found: list[str] = []
    with pytest.raises(AccessDeniedError, match="no more"):
        found.extend(entry.key for entry in in_windows(Denies(NUMBERED).pages, "a/", ""))
    assert found == NUMBERED[: len(found)]


def test_pages_may_be_empty_or_of_any_size() -> None:
    class Irregular(Server):
        def pages(self, start: str, ahead: Callable[[], bool]) -> Iterator[Page]:
            at, sizes = self.begin(start), [0, 1, 0, 0, 10, 3, 0, 40]
            for number in range(10**6):
                self.requests += 1
                size = sizes[number % len(sizes)]
                keys = self.keys[at : at + size]
                at += size
                yield Page([ObjectInfo(key, 1) for key in keys], [], at < len(self.keys), None)
                if at >= len(self.keys):
                    return

    for keys in (NUMBERED, NESTED, UNPADDED):
        server = Irregular(keys)
        assert server.list("a/") == keys


def test_objects_that_come_and_go_leave_the_others() -> None:
    """Everything that is there all the time is listed, in order."""

    class Busy(Server):
        def begin(self, start: str) -> int:
            if start:
                self.keys = sorted({*stable, f"a/{len(self.starts):04}.x", "a/0555.x"})
            return super().begin(start)

        def pages(self, start: str, ahead: Callable[[], bool]) -> Iterator[Page]:
            last, more = start, True
            self.starts.append(start)
            self.begin(start)
            while more:
                keys = self.keys
                at = bisect_right(keys, last)
                more = at + 10 < len(keys)
                found = [ObjectInfo(key, 1) for key in keys[at : at + 10]]
                last = found[-1].key if found else last
                yield Page(found, [], more, None)

    stable = NUMBERED
    found = Busy([*stable]).list("a/")
    assert found == sorted(set(found))
    assert {key for key in found if key.endswith(".npy")} == set(stable)


def test_without_more_threads_the_listing_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    begin, begun = windows._Window.begin, []

    def limited(window: windows._Window) -> None:
        if len(begun) >= 3 and window not in begun:
            raise StoreError("no more threads")
        begun.append(window)
        begin(window)

    monkeypatch.setattr(windows._Window, "begin", limited)
    assert Server(NUMBERED).list("a/") == NUMBERED
