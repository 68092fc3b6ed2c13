"""The browser's view in notebooks, and its small pictures."""

from __future__ import annotations

import struct
import zlib
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from cottoncandy.browser import Preview
from cottoncandy.core.output import escape
from cottoncandy.exceptions import (
    InvalidArgumentError,
    MetadataError,
    StoreError,
    UnsupportedDtypeError,
)
from tests.backends.wrappers import CountingBackend, WrappedBackend
from tests.cases import each
from tests.harness import MemoryHarness

_VOID = {"img", "br", "meta"}


class Page(HTMLParser):
    """Checks that tags nest, and collects tags and text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text += data + "\n"


def test_a_tree(cci: Any) -> None:
    page = Page(cci.get_browser()._repr_html_())
    lines = [line for line in page.text.splitlines() if line.strip()]
    assert lines[0] == f"{cci.bucket_name}/"
    for text in (
        "sweet_project/", "sub01_awesome_analysis.grp/", "3 keys", "result_model01", "(131072,)",
        "float64", "1.00MB", "(3, 4)", "gzip", "about.json", "notes.txt",
    ):  # fmt: skip
        assert text in lines
    assert page.tags.count("details") == 3
    assert page.tags.count("img") == 0


def test_requests_are_bounded(memory: MemoryHarness) -> None:
    for number in range(150):
        memory.raw_put(f"many/{number:03}/x", b"")
        memory.raw_put(f"top-{number:03}", b"")
    cci = memory.interface()
    cci.backend_interface = counting = CountingBackend(cci.backend_interface)
    browser = cci.get_browser()
    html = browser._repr_html_()
    assert counting.verbs["scan"] <= 1 + 20
    assert counting.verbs["get"] <= 100
    page = Page(html)
    assert "… and more: keys() lists all" in page.text
    assert "not listed yet" in page.text
    seen = dict(counting.verbs)
    assert browser._repr_html_() == html
    assert dict(counting.verbs) == seen  # all of it is remembered
    assert len(browser) == 151  # and what was cut short is listed in full


def test_hostile_names_and_metadata(memory: MemoryHarness) -> None:
    evil = "<script>alert(1)</script>\"'&\u202egnp.exe\x07"
    memory.raw_put(evil, b"")
    memory.raw_put(f"{evil}/in", b"")
    shape = "<img src=x onerror=alert(1)>"
    memory.raw_put("array", b"", {"shape": shape, "dtype": shape, "compression": shape, "x": evil})
    cci = memory.interface()
    for html in (
        cci.get_browser()._repr_html_(),
        cci.get_browser().array._repr_html_(),
        cci.get_browser()[evil]._repr_html_(),
    ):
        page = Page(html)
        assert {"script", "img"}.isdisjoint(page.tags)
        assert not any(name.startswith("on") for name, _ in page.attributes)
        assert "\u202e" not in html
        assert "\x07" not in html


def test_escape() -> None:
    assert escape("a<b>\"'&\n\u202eé") == "a&lt;b&gt;&quot;&#x27;&amp;\\x0a\\u202eé"


def test_objects_that_cannot_be_asked_are_shown(cci: Any) -> None:
    class FailingBackend(WrappedBackend):
        def get(self, key: str, **options: Any) -> Any:
            raise StoreError("a simulated failure")

        head = get

    cci.backend_interface = FailingBackend(cci.backend_interface)
    page = Page(cci.get_browser()._repr_html_())
    assert "result_model01" in page.text
    assert "1.00MB" in page.text
    assert "float64" not in page.text


def test_damaged_arrays_are_shown(memory: MemoryHarness) -> None:
    cci = memory.interface()
    cci.upload_raw_array("d/good", np.zeros((3, 4)), author="me")
    _, metadata = memory.raw_get("d/good")
    memory.raw_put("d/cut", b"x", metadata | {"compression": "False"})
    manifest = b'{"type": "csr", "attrs": ["data", "indices", "indptr"], "shape": [3, 3]}'
    memory.raw_put("d/sparse/metadata.json", manifest)  # of 0.4.0: its dtype is in a part
    for name in ("data", "indices", "indptr"):
        memory.raw_put(f"d/sparse/{name}", b"x")
    browser = cci.get_browser()
    text = Page(browser._repr_html_()).text
    assert "(3, 3)" in text
    assert text.count("(3, 4)") == 2
    assert "me" in Page(browser.d.cut._repr_html_()).text
    assert "(3, 3)" in Page(browser.d.sparse._repr_html_()).text


def test_an_object(cci: Any) -> None:
    page = Page(cci.get_browser().sweet_project.mean._repr_html_())
    for text in ("(3, 4)", "author", "me", "float64"):
        assert text in page.text.splitlines()


def test_arrays_in_parts(cci: Any) -> None:
    cci.upload_dask_array("chunked", np.zeros((40, 50, 6), ">i2"), buffersize=4000)
    cci.upload_json("other/metadata.json", {"shape": [1], "dtype": "<f8"})
    cci.upload_json("evil/metadata.json", {"shape": ["<img>"], "dtype": [1], "dask": []})
    html = cci.get_browser()._repr_html_()
    page = Page(html)
    lines = page.text.splitlines()
    at = lines.index("chunked")
    assert [line for line in lines[at + 1 : at + 6] if line.strip()][:3] == [
        "6 chunks of (40, 50, 1)",
        "(40, 50, 6)",
        ">i2",
    ]
    assert "pt0000" not in lines  # one row, as of any other array
    assert {"other/", "evil/"} <= set(lines)
    assert "img" not in page.tags
    assert "(1)" not in page.text


def test_an_empty_bucket(memory: MemoryHarness) -> None:
    assert "empty" in Page(memory.interface().get_browser()._repr_html_()).text


# -- pictures ------------------------------------------------------------------------------------


def pixels(preview: Preview) -> np.ndarray:
    """Decode one of our PNGs, and validate it."""
    data = preview.data
    assert preview.mime_type == "image/png"
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    position, body, size = 8, b"", (0, 0)
    while position < len(data):
        (length,) = struct.unpack(">I", data[position : position + 4])
        kind = data[position + 4 : position + 8]
        content = data[position + 8 : position + 8 + length]
        (crc,) = struct.unpack(">I", data[position + 8 + length : position + 12 + length])
        assert crc == zlib.crc32(kind + content)
        if kind == b"IHDR":
            size = struct.unpack(">II", content[:8])
            assert content[8:] == bytes([8, 6, 0, 0, 0])
        elif kind == b"IDAT":
            body += content
        position += 12 + length
    rows = np.frombuffer(zlib.decompress(body), np.uint8).reshape(size[1], 1 + 4 * size[0])
    assert not rows[:, 0].any()
    return rows[:, 1:].reshape(size[1], size[0], 4)


def test_a_slice(cci: Any) -> None:
    image = np.zeros((5, 60, 40))
    image[2, :30] = 10.0
    image[2, 50:] = np.nan
    cci.upload_raw_array("image", image, compression=False)
    counting = cci.backend_interface
    dataset = cci.get_browser().image
    counting.reset()
    preview = dataset.preview()
    assert counting.bytes_received == 60 * 40 * 8  # the slice, and nothing else
    picture = pixels(preview)
    assert picture.shape == (240, 160, 4)  # enlarged, so that it can be seen
    light, dark, missing = picture[0, 0], picture[160, 0], picture[220, 0]
    assert light[:3].sum() > dark[:3].sum() + 300
    assert (light[3], dark[3], missing[3]) == (255, 255, 0)
    assert preview.caption == "image[2, :, :] of 5 x 60 x 40 float64: 0 to 10"
    assert repr(preview) == f"<cottoncandy-preview {preview.caption}>"
    page = Page(preview._repr_html_())
    assert page.tags.count("img") == 1


@each(
    "array",
    [
        np.arange(6).reshape(2, 3),
        np.zeros((3, 3), bool),
        np.full((2, 2), np.nan),
        np.array([[1e308, -1e308], [np.inf, 0]]),
        np.ones((4, 1000, 3), ">c8"),
        np.ones((1, 2000)),
        np.ones((2000, 1)),
        np.ones((300_000, 2)),
        np.array([["2020-01-01", "NaT"]], "M8[D]"),
        np.asfortranarray(np.arange(12.0).reshape(3, 4)),
    ],
)
def test_pictures_of_all_kinds(cci: Any, array: np.ndarray) -> None:
    for compression in (False, "gzip"):
        cci.upload_raw_array("array", array, compression=compression)
        picture = pixels(cci.get_browser().array.preview())
        assert max(picture.shape[:2]) <= 240


@each(
    "array",
    [
        np.sin(np.arange(5000) / 300),
        np.arange(3),
        np.array(3.5),
        np.array([7.0]),
        np.zeros(0),
        np.zeros((0, 4)),
        np.full(10, np.nan),
        np.array([1.0, np.nan, 2.0]),
    ],
)
def test_courses(cci: Any, array: np.ndarray) -> None:
    cci.upload_raw_array("array", array)
    preview = cci.get_browser().array.preview()
    assert preview.mime_type == "image/svg+xml"
    drawing = ElementTree.fromstring(preview.data)
    assert drawing.tag.endswith("svg")
    path = drawing[0].get("d")
    assert "nan" not in path
    assert bool(path) == bool(np.isfinite(array).any())


def test_a_long_course_is_sampled(cci: Any) -> None:
    cci.upload_raw_array("long", np.arange(4_000_000.0), compression=False)
    dataset = cci.get_browser().long
    counting = cci.backend_interface
    counting.reset()
    preview = dataset.preview(max_bytes=2**20)
    assert 0 < counting.bytes_received <= 2**20
    assert preview.caption.endswith("0 to 4e+06")


@pytest.mark.server  # so many points take a moment
def test_a_large_slice_is_sampled(cci: Any) -> None:
    image = np.zeros((2400, 24_000), "u1")
    image[:1200] = 100
    cci.upload_raw_array("large", image, compression=False)
    counting = cci.backend_interface
    dataset = cci.get_browser().large
    counting.reset()
    preview = dataset.preview()
    assert preview.caption == "large[::10, :] of 2400 x 24000 uint8: 0 to 100"
    assert counting.bytes_received == 240 * 24_000
    picture = pixels(preview)
    assert max(picture.shape[:2]) <= 240
    assert picture[0, 0, :3].sum() > picture[-1, 0, :3].sum()


def test_pictures_have_limits(cci: Any) -> None:
    cci.upload_raw_array("packed", np.zeros((100, 100)))
    browser = cci.get_browser()
    with pytest.raises(InvalidArgumentError, match="max_bytes"):
        browser.packed.preview(max_bytes=1000)
    cci.upload_raw_array("text", np.array(["a", "b"]))
    browser.refresh()
    with pytest.raises(UnsupportedDtypeError, match="text"):
        browser.text.preview()
    with pytest.raises(MetadataError):
        browser.notes_DOT_txt.preview()


def test_save(cci: Any, tmp_path: Any) -> None:
    preview = cci.get_browser().sweet_project.mean.preview()
    preview.save(tmp_path / "mean.png")
    assert (tmp_path / "mean.png").read_bytes() == preview.data
