"""Scripts as users of cloud-files write them; test_ported.py runs them with both packages.

Each takes a cloud path and returns what its user would look at. Run as a program, the module prints
the results of all as JSON.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from cottoncandy.cloudfiles import (
    CloudFile,
    CloudFiles,
    ResumableTransfer,
    compression,
    dl,
    exceptions,
    paths,
    secrets,
)
from cottoncandy.cloudfiles.monitoring import TransmissionMonitor

TEXT = b"the quick brown fox " * 50


def compressed_backup(base: str) -> Any:
    files = {f"logs/{day:02d}.txt": TEXT + bytes([day]) for day in range(30)}
    cf = CloudFiles(base, progress=False, num_threads=4)
    stored = cf.puts(files.items(), compress="gzip", content_type="text/plain")
    found = cf.get(list(files))
    complete = {file["path"]: file["content"] for file in found} == files
    sizes = cf.size(list(files))
    smaller = all(0 < size < len(TEXT) for size in sizes.values())
    return stored, complete, smaller, {file["compress"] for file in found} == {"gzip"}


def metadata_of_an_image(base: str) -> Any:
    cf = CloudFiles(base)
    resolution, chunk = np.array([4, 4, 40]), np.int64(64)
    info = {"type": "image", "scales": [{"resolution": resolution, "chunk": chunk}], "ä": None}
    cf.put_json("info", info, cache_control="no-cache")
    cf.put_jsons([("provenance", {"owners": []}), ("mesh/info", [1.5, True])], compress="br")
    names = ["mesh/info", "provenance", "nothing", "info"]
    return cf.get_json("info"), cf.get_json(names), json.loads(cf["provenance"])


def chunks_of_an_image(base: str) -> Any:
    def chunks() -> Iterator[dict[str, Any]]:
        for x, y in itertools.product(range(3), range(2)):
            content = np.full((8, 8), 10 * x + y, np.uint8).tobytes()
            settings = {"compress": "zstd", "compression_level": 5} if x else {"compress": None}
            yield {"path": f"1_1_1/{x}-{y}", "content": content, **settings}

    cf = CloudFiles(base)
    count = cf.puts(chunks(), total=6, content_type="application/octet-stream")
    cutout = cf.get([f"1_1_1/{x}-0" for x in range(3)], return_dict=True)
    array = np.stack([np.frombuffer(cutout[name], np.uint8) for name in sorted(cutout)])
    parts = cf.get([{"path": "1_1_1/0-1", "start": n, "end": n + 2, "tags": n} for n in range(3)])
    tagged = sorted((part["tags"], part["content"].hex(), *part["byte_range"]) for part in parts)
    first = cf["1_1_1/0-1", 0:4]
    return count, array.sum(axis=1).tolist(), tagged, first.hex(), first == cf["1_1_1/0-1"][0:4]


def cleaning_up(base: str) -> Any:
    cf = CloudFiles(base)
    cf.puts([(f"{n}.tmp", bytes(n)) for n in range(6)])
    there = cf.exists(f"{n}.tmp" for n in range(4, 8))
    sizes = cf.size(["5.tmp", "7.tmp", "0.tmp"])
    del cf["0.tmp"]
    cf.delete(["1.tmp", "2.tmp"])
    cf.delete("missing")
    content = cf.get(["3.tmp", "missing"])
    present = sorted(file["path"] for file in content if file["content"] is not None)
    alone = cf.exists("5.tmp"), cf.exists("0.tmp"), cf.get("missing"), cf.size("5.tmp")
    return there, sizes, present, alone, sorted(cf), sorted(cf.list(prefix="4"))


def changing_the_compression(base: str) -> Any:
    source, dest = CloudFiles(base + "/old"), CloudFiles(base + "/new")
    source.puts([("a", TEXT), ("b/c", TEXT[:99])], compress="gzip")
    source.put("d", b"plain")
    files = source.get(list(source), raw=True)
    dest.puts(compression.transcode(files, "br", level=4), raw=True, compress="br")
    stored = dest.get(list(dest), raw=True)
    packed = {file["path"]: compression.decompress(file["content"], "br") for file in stored}
    pairs = [("e", TEXT)]
    (encoded,) = compression.transcode(pairs, "xz")
    fields = encoded["path"], encoded["raw"], encoded["compress"]
    plain = {name: content.decode() for name, content in packed.items()}
    return plain, {file["path"]: file["compress"] for file in stored}, fields


def mirroring(base: str) -> Any:
    here, there = CloudFiles(base + "/here"), CloudFiles(base + "/there")
    here.puts([("a", b"1"), ("b/c", TEXT), ("b/d", b"3")])
    here.put("e", TEXT, compress="gzip")
    record = here.transfer_to(there, paths=["a", {"path": "b/c", "dest_path": "x/y"}])
    CloudFiles(base + "/encoded").transfer_from(here, reencode="bz2", block_size=2)
    CloudFiles(base + "/all")[:] = here
    here.transfer_to(base + "/by-name", paths=(name for name in here.list("b/")))
    missing = ""
    try:
        here.transfer_to(there, paths=["nothing"])
    except FileNotFoundError:
        missing = "no file"
    encoded = CloudFiles(base + "/encoded")
    found = {name: encoded[name].decode() for name in sorted(encoded)}
    every = sorted(CloudFiles(base).list())
    return isinstance(record, TransmissionMonitor), missing, found, every


def browsing(base: str) -> Any:
    cf = CloudFiles(base)
    cf.puts([("a", b"1"), ("b/c", b"22"), ("b/d/e", b"333"), ("bc", b"4")])
    flat = sorted(cf.list(flat=True)), sorted(cf.list(prefix="b/", flat=True))
    names = sorted(cf.list("b")), sorted(cf.list("b/")), sorted(cf.list("nothing"))
    kinds = cf.isdir("b/d/"), cf.isdir("b"), cf.isdir("nothing")
    text = cf.join("b", "d", "e"), cf.dirname("b/d/e"), cf.basename("b/d/e"), cf.sep
    return flat, names, kinds, text, cf.subtree_size(), cf.subtree_size("b/")


def one_file(base: str) -> Any:
    file = CloudFile(base + "/report.json")
    before = file.exists()
    file.put_json({"pages": 3})
    value, size, length = file.get_json(), file.size(), len(file)
    head = file.head()
    header = head["Content-Length"], head["Content-Encoding"] or None
    part, binary = file[:4], file.get()
    ranges = [found["content"] for found in file.get(ranges=[{"path": file.filename, "end": 2}])]
    file.transfer_to(base + "/copies/report.json")
    CloudFile(base + "/copies/second.json").transfer_from(base + "/report.json")
    file.move(base + "/moved.json")
    other = CloudFile(base + "/empty")
    other.touch()
    other.touch()
    gone, empty = file.exists(), other.get()
    CloudFile(base + "/moved.json").delete()
    names = file.basename("x/y"), file.dirname("x/y"), file.join("x", "y"), file.filename
    contents = [part, binary, *ranges, empty]
    return before, value, size, length, header, [each.decode() for each in contents], gone, names


def transfer_that_resumes(base: str) -> Any:
    source, dest = CloudFiles(base + "/source"), CloudFiles(base + "/dest")
    source.puts([(f"{n % 3}/{n}", str(n).encode()) for n in range(25)], compress="gzip")
    db = "job.db"
    job = ResumableTransfer(db, lease_msec=30000)
    job.init(base + "/source", base + "/dest", paths=CloudFiles(base + "/source"))
    waiting = len(job)
    job.execute(progress=False, block_size=7)
    remaining = len(job)
    job.close()
    found = {file["path"]: file["content"].decode() for file in dest.get(list(dest))}
    return waiting, remaining, os.path.exists(db), found


def files_of_many_buckets(base: str) -> Any:
    for name in ("one", "two"):
        CloudFiles(f"{base}/{name}").puts([("a", name.encode()), ("b", TEXT)], compress="br")
    places = [f"{base}/one/a", f"{base}/two/a", f"{base}/two/missing"]
    found = dl(places)
    raw = dl([f"{base}/one/b"], raw=True)
    (plain,) = compression.transcode(raw, None)
    contents = sorted(file["content"].decode() for file in found if file["content"] is not None)
    fields = [sorted({*file} & {"content", "path", "fullpath", "error"}) for file in found]
    return contents, fields, plain["content"] == TEXT, raw[0]["compress"]


def moving(base: str) -> Any:
    incoming, done = CloudFiles(base + "/incoming"), CloudFiles(base + "/done")
    incoming.puts([(f"{n}.dat", bytes([65 + n])) for n in range(4)], compress="gzip")
    incoming.move("0.dat", base + "/done/first.dat")
    incoming.moves(done, [("1.dat", "second.dat"), "2.dat"])
    incoming.moves(base + "/done", [("3.dat", "sub/third.dat")])
    contents = {file["path"]: file["content"].decode() for file in done.get(list(done))}
    return sorted(incoming), contents


def in_memory(base: str) -> Any:
    cf = CloudFiles("mem://bucket/cache")
    cf["a"] = TEXT
    cf.put("b/c", TEXT, compress="br")
    other = CloudFiles("mem://bucket/cache/b")
    same = other["c"] == cf["b/c"] == cf["a"]
    cf.transfer_to(base + "/saved")
    cf.delete(cf.list())
    return same, sorted(cf), sorted(CloudFiles(base + "/saved"))


def names_of_places(base: str) -> Any:
    paths.add_alias("lab", "s3://https://s3.lab.org/")
    places = [
        *("gs://bucket/dataset/layer", "precomputed://gs://bucket/dataset/layer/"),
        *("s3://https://s3.lab.org:8080/bucket/a/b", "lab://bucket/a", "file:///data/a.txt"),
        *("zarr2://s3://bucket/a", "gs://bucket/a|zarr3:", "https://host.org/a/b", "mem://b/c"),
    ]
    found = []
    for place in places:
        path = paths.extract(place)
        own = list(path), paths.asprotocolpath(path), paths.ascloudpath(path)
        found.append((*own, paths.normalize(place), paths.to_https_protocol(place)))
        found.append((paths.service_provider(path), paths.get_protocol(place)))
    text = paths.basename("gs://b/c/d.txt"), paths.dirname("gs://b/c/d.txt")
    on_disk = paths.asfilepath("file:///a/b"), paths.asfilepath(paths.extract("file:///a/b"))
    paths.remove_alias("lab")
    return found, text, on_disk, paths.pop_protocol("gs://b/c"), paths.get_any_protocol("x://b")


def secrets_and_errors(base: str) -> Any:
    os.environ |= {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s"}
    os.environ |= {"AWS_SESSION_TOKEN": "t", "AWS_DEFAULT_REGION": "r"}
    found = [secrets.aws_credentials("", service) for service in ("tigerdata", "lab")]
    found.append(secrets.aws_credentials(service="s3", skip_files=True))
    found.append(secrets.cave_credentials("server"))
    found.append(secrets.http_credentials())
    errors = []
    cf = CloudFiles(base)
    cf.put("bad", b"not gzip", compress="gzip", raw=True)
    calls: list[Callable[[], Any]] = [
        lambda: paths.extract("unknown://bucket/path"),
        lambda: cf.get("bad"),
        lambda: cf.put("a", b"", compress="zip"),
        lambda: cf.puts([("a", b"1"), ("a", b"2")]),
        lambda: compression.decompress(b"", "gzip"),
        lambda: paths.add_alias("gs", "s3://https://host/"),
    ]
    kinds = exceptions.UnsupportedProtocolError, exceptions.DecompressionError, ValueError
    for call in calls:
        try:
            call()
            errors.append("none")
        except kinds as error:
            errors.append(next(kind.__name__ for kind in kinds if isinstance(error, kind)))
    entry = cf.get(["bad"], raise_errors=False)[0]
    return found, errors, isinstance(entry["error"], exceptions.DecompressionError)


SCRIPTS: list[Callable[[str], Any]] = [
    *(compressed_backup, metadata_of_an_image, chunks_of_an_image, cleaning_up),
    *(changing_the_compression, mirroring, browsing, one_file, transfer_that_resumes),
    *(files_of_many_buckets, moving, in_memory, names_of_places, secrets_and_errors),
]

if __name__ == "__main__":
    results = {each.__name__: each(f"{sys.argv[1]}/{each.__name__}") for each in SCRIPTS}
    print(json.dumps(results, default=repr))
