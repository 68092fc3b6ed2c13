"""Listings: the parser against botocore's, and servers whose pages are wrong."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import quote_plus, unquote_plus
from xml.sax.saxutils import escape

import botocore.parsers
import botocore.session
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cottoncandy.backends import windows
from cottoncandy.backends.base import CommonPrefix, ObjectInfo
from cottoncandy.backends.pages import parse_page
from cottoncandy.backends.s3.errors import S3Location
from cottoncandy.backends.s3.listing import scan
from cottoncandy.core.buffers import Body
from cottoncandy.exceptions import IntegrityError, StoreError
from tests.backends._s3 import S3Tests, backend_at
from tests.cases import CHARACTERS, each
from tests.servers import S3Server
from tests.servers.proxy import FaultProxy

_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
_SHAPE: Any = (
    botocore.session.Session().get_service_model("s3").operation_model("ListObjectsV2").output_shape
)

Entries = list[tuple[str, int, str | None]]


def entry(key: str, size: int = 1, tag: str = "Contents") -> str:
    return (
        f"<{tag}><Key>{quote_plus(key, safe='/')}</Key>"
        f"<LastModified>2026-01-02T03:04:05.678Z</LastModified><ETag>&quot;{size}&quot;</ETag>"
        f"<Size>{size}</Size><Owner><ID>somebody</ID></Owner></{tag}>"
    )


def prefix_entry(prefix: str) -> str:
    return f"<CommonPrefixes><Prefix>{quote_plus(prefix)}</Prefix></CommonPrefixes>"


def document(entries: Iterable[str], header: str = "", truncated: str = "false") -> bytes:
    entries = list(entries)
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult xmlns="{_NAMESPACE}">'
        f"<Name>b</Name><EncodingType>url</EncodingType><KeyCount>{len(entries)}</KeyCount>"
        f"<IsTruncated>{truncated}</IsTruncated>{header}{''.join(entries)}</ListBucketResult>"
    ).encode()


def by_botocore(body: bytes) -> tuple[Entries, list[str], bool]:
    """Return what botocore's own parser finds."""
    response = {"body": body, "headers": {}, "status_code": 200}
    parsed = botocore.parsers.create_parser("rest-xml").parse(response, _SHAPE)
    encoded = parsed.get("EncodingType", "").strip() == "url"

    def name(text: str) -> str:
        return unquote_plus(text) if encoded else text

    return (
        [
            (name(each["Key"]), each["Size"], each.get("ETag"))
            for each in parsed.get("Contents", [])
        ],
        [name(each["Prefix"]) for each in parsed.get("CommonPrefixes", [])],
        parsed.get("IsTruncated", False),
    )


def by_us(body: bytes) -> tuple[Entries, list[str], bool]:
    page = parse_page(body)
    objects = [(each.key, each.size, each.etag) for each in page.objects]
    return objects, [each.prefix for each in page.prefixes], page.truncated


_KEY = st.text(CHARACTERS, min_size=1, max_size=12)
_DOCUMENT = st.builds(
    document,
    st.lists(st.one_of(_KEY.map(entry), _KEY.map(prefix_entry)), max_size=5),
    truncated=st.sampled_from(["true", "false"]),
)


@given(_DOCUMENT)
def test_parser_finds_what_botocore_finds(body: bytes) -> None:
    assert by_us(body) == by_botocore(body)


@given(_DOCUMENT, st.data())
def test_cut_listing_is_rejected(body: bytes, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(body) - 1))
    with pytest.raises(ValueError, match=r"."):
        parse_page(body[:cut])


_PIECES = [
    *(b"<Contents>", b"</Contents>", b"<Key>", b"</Key>", b"<Size>1</Size>", b"<KeyCount>"),
    *(b"<CommonPrefixes>", b"<Prefix>x</Prefix>", b"<!--", b"-->", b"<![CDATA[", b"]]>", b"<a/>"),
    *(b"<IsTruncated>true</IsTruncated>", b" xmlns='x'", b"&amp;", b"&#1;", b"&x;", b"\x01", b"\0"),
    *(b"<!DOCTYPE a>", b"<EncodingType>url</EncodingType>", b"\r", b"\xff", b"\xef\xbf\xbe", b"%"),
]


@given(_DOCUMENT, st.data())
@example(document([entry("a")]).replace(b"<Key>a", b"<Key>a<b/>c"), None)
@example(document([entry("a")]).replace(b"<Contents>", b"<Contents\n >"), None)
def test_altered_listing_is_rejected_or_read_as_botocore_reads_it(body: bytes, data: Any) -> None:
    """No entry may be missing without an error."""
    for _ in range(data.draw(st.integers(1, 4)) if data is not None else 0):
        start = data.draw(st.integers(0, len(body)))
        stop = data.draw(st.integers(start, min(start + 30, len(body))))
        filling = data.draw(
            st.one_of(
                st.sampled_from(_PIECES), st.binary(max_size=3), st.just(body[start:stop] * 2)
            )
        )
        body = body[:start] + filling + body[stop:]
    try:
        objects, prefixes, truncated = by_us(body)
    except ValueError:
        return
    if b"&#" in body or any(byte < 32 and byte not in b"\t\n" for byte in body):
        return  # botocore rejects these documents, which Ceph writes
    expected_objects, expected_prefixes, expected_truncated = by_botocore(body)
    assert objects == expected_objects
    assert prefixes == expected_prefixes
    assert truncated >= expected_truncated


@each(
    "opening, closing",
    [
        ("<Contents>", "</Contents>"),
        (f"<Contents xmlns='{_NAMESPACE}'>", "</Contents>"),
        ("<Contents >", "</Contents\n>"),
        (f"<ns:Contents xmlns:ns='{_NAMESPACE}'>", "</ns:Contents>"),
        ("\r\n  <Contents\r\n>", "</Contents>\r\n"),
    ],
)
def test_every_spelling_of_a_tag_is_read(opening: str, closing: str) -> None:
    body = document(entry(f"key{number}") for number in range(1000)).decode()
    body = body.replace("<Contents>", opening).replace("</Contents>", closing)
    page = parse_page(body.encode())
    assert [each.key for each in page.objects] == [f"key{number}" for number in range(1000)]


def test_prefixed_root_is_read() -> None:
    body = f'<s:ListBucketResult xmlns:s="{_NAMESPACE}"><s:IsTruncated>false</s:IsTruncated>'
    body += "<s:Contents><s:Key>a</s:Key><s:Size>3</s:Size></s:Contents></s:ListBucketResult>"
    assert parse_page(body.encode()).objects == [ObjectInfo("a", 3)]


def test_names_that_are_not_encoded_are_kept() -> None:
    key = "a+b%20 & <c> \"'é\x7f"
    body = f"<Contents><Key>{escape(key)}</Key><Size>1</Size></Contents>"
    body = f"<ListBucketResult><IsTruncated>false</IsTruncated>{body}</ListBucketResult>"
    page = parse_page(body.encode().replace(b"\xc3\xa9", b"&#xe9;"))
    assert page.objects == [ObjectInfo(key, 1)]


@each("character", [*map(chr, range(9)), "\x0b", "\x1f", "\r"])
def test_control_characters_that_ceph_writes_are_kept(character: str) -> None:
    header = (
        f"<Prefix>{character}</Prefix><NextContinuationToken>{character}a</NextContinuationToken>"
    )
    page = parse_page(document([entry(f"{character}b")], header, "true"))
    assert page.token == f"{character}a"
    assert [each.key for each in page.objects] == [f"{character}b"]


@each("reference", ["&#1;", "&#x1;", "&#x01;", "&#001;"])
def test_references_to_control_characters_are_kept(reference: str) -> None:
    """Ceph writes both kinds."""
    token = f"<NextContinuationToken>{reference}\x02</NextContinuationToken>"
    header = f"<Prefix>{reference}</Prefix>{token}"
    page = parse_page(document([entry("\x01b")], header, "true"))
    assert page.token == "\x01\x02"
    assert [each.key for each in page.objects] == ["\x01b"]


@each(
    "before, after",
    [
        (b"<KeyCount>2</KeyCount>", b"<KeyCount>3</KeyCount>"),
        (b"<KeyCount>2</KeyCount>", b"<KeyCount>many</KeyCount>"),
        (b"<IsTruncated>false</IsTruncated>", b""),
        (b"<IsTruncated>false</IsTruncated>", b"<IsTruncated>perhaps</IsTruncated>"),
        (b"<EncodingType>url", b"<EncodingType>base64"),
        (b"<Key>a</Key>", b""),
        (b"<Key>a</Key>", b"<Key></Key>"),
        (b"<Key>a</Key>", b"<Key>a</Key><Key>b</Key>"),
        (b"<Key>a</Key>", b"<Key>a<x/>b</Key>"),
        (b"<Size>1</Size>", b""),
        (b"<Size>1</Size>", b"<Size>-1</Size>"),
        (b"<Size>1</Size>", b"<Size>" + b"9" * 5000 + b"</Size>"),
        (b"2026-01-02T", b"2026-13-02T"),
        (b"<Contents><Key>b", b"<KeyCount>2</KeyCount><Contents><Key>b"),
        (b"ListBucketResult", b"ListAllMyBucketsResult"),
        (b"<ListBucketResult", b'<!DOCTYPE a [<!ENTITY b "c">]><ListBucketResult'),
        (b"</ListBucketResult>", b"</ListBucketResult><more/>"),
    ],
)
def test_wrong_listing_is_rejected(before: bytes, after: bytes) -> None:
    body = document([entry("a"), entry("b")])
    assert before in body
    parse_page(body)
    with pytest.raises(ValueError, match=r"."):
        parse_page(body.replace(before, after))


def test_key_count_may_leave_out_the_prefixes() -> None:
    body = document([entry("a"), prefix_entry("b/")]).replace(b"Count>2<", b"Count>1<")
    assert parse_page(body).prefixes == [CommonPrefix("b/")]


class _Pages:
    """A client that returns these pages in turn, and the last one forever."""

    def __init__(self, *pages: bytes) -> None:
        self.pages = list(pages)

    def list_objects_v2(self, **_: Any) -> dict[str, bytes]:
        page = self.pages.pop(0) if len(self.pages) > 1 else self.pages[0]
        return {"CottonCandyBody": page}


def page_of(*keys: str, token: str | None = None) -> bytes:
    header = f"<NextContinuationToken>{token}</NextContinuationToken>" if token else ""
    return document(map(entry, keys), header, "true" if token else "false")


def keys_in(*pages: bytes, bucket: str = "b", prefix: str = "", after: str = "") -> list[str]:
    location = S3Location("http://127.0.0.1:9", bucket)
    found = scan(
        _Pages(*pages), location, prefix=prefix, delimiter="", start_after=after, page_size=None
    )
    return [each.key for each in found if isinstance(each, ObjectInfo)]


def test_pages_follow_each_other() -> None:
    assert keys_in(page_of("a", token="1"), page_of(token="2"), page_of("b")) == ["a", "b"]


@each(
    "pages",
    [
        (page_of("a", token="1"), page_of("b", token="1")),
        (page_of("a", token="1"), page_of("b", token="2"), page_of(token="1")),
        (page_of("a", token="1"), page_of("a", "b")),
        (page_of("b", "a"),),
        (page_of("a", "a"),),
        (document([entry("a")], truncated="true"),),
        (document([prefix_entry("b/"), prefix_entry("a/")]),),
        (page_of("a", token="1"), page_of("b")[:-30]),
    ],
)
def test_pages_that_contradict_each_other_are_rejected(pages: tuple[bytes, ...]) -> None:
    with pytest.raises(IntegrityError, match=r"bucket 'b' at .*: the server's listing is damaged"):
        keys_in(*pages)


def test_keys_that_were_not_requested_are_rejected() -> None:
    assert keys_in(page_of("a/1"), prefix="a/", after="a/0") == ["a/1"]
    with pytest.raises(IntegrityError, match="'b/1' is out of order"):
        keys_in(page_of("a/1", "b/1"), prefix="a/")
    with pytest.raises(IntegrityError, match="'a/1' is out of order"):
        keys_in(page_of("a/1"), prefix="a/", after="a/1")


def test_one_thread_lists_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "FAST_S", 0)
    pages = [page_of(f"{number:02}", token=str(number)) for number in range(12)]
    client, begun = _Pages(*pages, page_of("z")), []
    listed = client.list_objects_v2
    monkeypatch.setattr(client, "list_objects_v2", lambda **its: begun.append(its) or listed(**its))
    location = S3Location("http://127.0.0.1:9", "b")
    options: dict[str, Any] = {"prefix": "", "delimiter": "", "start_after": "", "page_size": None}
    assert len(list(scan(client, location, **options, in_order=True))) == len(begun) == 13
    assert not any("StartAfter" in each for each in begun)


def test_directory_buckets_are_not_in_order() -> None:
    assert keys_in(page_of("b", "a"), bucket="data--usw2-az1--x-s3") == ["b", "a"]


class TestListing(S3Tests):
    def test_page_that_is_cut_raises(self, fault_proxy: FaultProxy, moto_bucket: str) -> None:
        backend = backend_at(fault_proxy.server, moto_bucket)
        whole = document([entry("a"), entry("b")])
        fault_proxy.on("GET", query="list-type").answer(
            200, body=whole[: whole.index(b"<Contents>")]
        )
        with pytest.raises(IntegrityError, match=f"bucket '{moto_bucket}'"):
            list(backend.scan())

    @pytest.mark.parametrize(
        ("body", "message"),
        [
            (b"<html><body>Welcome to the portal</body></html>", "is not an S3 server"),
            (b"<Other/>", "is not an S3 listing"),
        ],
    )
    def test_foreign_response_raises(
        self, fault_proxy: FaultProxy, moto_bucket: str, body: bytes, message: str
    ) -> None:
        backend = backend_at(fault_proxy.server, moto_bucket)
        fault_proxy.on("GET").answer(200, body=body)
        with pytest.raises(StoreError, match=message):
            list(backend.scan())

    def test_several_pages_at_a_time_find_the_same(
        self,
        moto: S3Server,
        moto_bucket: str,
        ceph: S3Server,
        ceph_bucket: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(windows, "FAST_S", 0)
        groups = ("a b", "a+", "a/b", "é", "\U0001f9e0")
        keys = [f"{group}/{number:03}" for group in groups for number in range(30)]
        for backend in (backend_at(moto, moto_bucket), backend_at(ceph, ceph_bucket)):
            for key in keys:
                backend.put(key, Body.of(b""))
            for prefix, after, page_size in (("", "", 3), ("a", "a+/010", 2), ("é/", "", 1)):
                found = backend.scan(prefix, start_after=after, page_size=page_size)
                expected = sorted(key for key in keys if key.startswith(prefix) and key > after)
                assert [each.key for each in found] == expected

    def test_names_are_in_order(self, moto: S3Server, moto_bucket: str) -> None:
        backend = backend_at(moto, moto_bucket)
        client = moto.client()
        for key in ("a", "a/1", "a/2", "b//x", "b-", "ü/x", "z"):
            client.put_object(Bucket=moto_bucket, Key=key)
        for page_size in (1, 2, 3, None):
            found = backend.scan(delimiter="/", page_size=page_size)
            names = [each.prefix if isinstance(each, CommonPrefix) else each.key for each in found]
            assert names == ["a", "a/", "b-", "b/", "z", "ü/"]
        assert list(backend.scan("b/", delimiter="/")) == [CommonPrefix("b//")]
        found = backend.scan(start_after="a/1", page_size=2)
        names = [each.key for each in found if isinstance(each, ObjectInfo)]
        assert names == ["a/2", "b-", "b//x", "z", "ü/x"]
