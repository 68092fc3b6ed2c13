"""Draw the pictures of the documentation: ``python docs/make_pictures.py``.

Needs Chromium.
"""

from __future__ import annotations

import contextlib
import html
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from click.testing import CliRunner

import cottoncandy as cc
from cottoncandy.cli.main import main

IMAGES = Path(__file__).resolve().parent / "images"

_PAGE = """<!doctype html><meta charset="utf-8"><title>cottoncandy</title>
<style>body{{margin:18px 22px;background:#fff;color:#1c1c1c;font:14px system-ui,sans-serif}}
.in{{font:13px ui-monospace,monospace;background:#f5f5f7;border-left:3px solid #b23663;
white-space:pre;padding:.45em .7em;margin:1em 0 .5em}}
.pair{{display:flex;gap:3em;align-items:flex-end}}</style>
<div class="in">browser = cc.get_browser('my_bucket_name'); browser</div>{tree}
<div class="in">browser.sweet_project.sub01_DOT_grp.bold.preview()
browser.sweet_project.sub01_DOT_grp.motion.preview()</div>
<div class="pair">{slice}{course}</div>"""


def project() -> cc.interfaces.DefaultInterface:
    """Make a bucket like a small brain imaging project."""
    cci = cc.get_interface("my_bucket_name", backend="memory", verbose=False)
    rng = np.random.default_rng(2018)
    z, y, x = np.mgrid[-1:1:24j, -1:1:80j, -1:1:64j]
    radius = np.sqrt((x / 0.72) ** 2 + (y / 0.9) ** 2 + (z / 0.85) ** 2)
    folds = np.sin(9 * x + 3 * np.sin(5 * y)) * np.cos(8 * y + 2 * z)
    brain = np.clip((1 - radius) * 6, 0, 1) * (700 + 180 * folds + 120 * (radius > 0.75))
    times = np.arange(30).reshape(-1, 1, 1, 1)
    series = brain * (1 + 0.02 * np.sin(times / 3)) + rng.normal(0, 18, (30, *brain.shape))
    for subject in ("sub01", "sub02"):
        group = f"sweet_project/{subject}.grp"
        cci.upload_raw_array(f"{group}/bold", series.astype("f4"), compression=False)
        cci.upload_raw_array(f"{group}/mask", radius < 1)
        cci.upload_raw_array(f"{group}/motion", np.cumsum(rng.normal(0, 0.02, 4000)))
        cci.upload_raw_array(f"{group}/events", rng.integers(0, 4, (300, 2)), compression="Zstd")
    cci.upload_json("sweet_project/participants.json", {"sub01": 31, "sub02": 27})
    cci.upload_dask_array("atlas.dar", brain.astype("f4"), buffersize=2**18)
    cci.upload_object("README.md", b"# A sweet project\n" * 40)
    return cci


def page(cci: cc.interfaces.DefaultInterface) -> str:
    """Return the page as a notebook shows it, with the first subject opened."""
    browser = cci.get_browser()
    tree = browser._repr_html_()
    for name in ("sweet_project/", "sub01.grp/"):
        head, found, rest = tree.partition(f"<bdi>{name}</bdi>")
        at = head.rindex("<details>")
        tree = head[:at] + "<details open>" + head[at + len("<details>") :] + found + rest
    group = browser["sweet_project/sub01.grp"]
    return _PAGE.format(
        tree=tree,
        slice=group["bold"].preview()._repr_html_(),
        course=group["motion"].preview()._repr_html_(),
    )


def photograph(address: str, picture: Path, size: str, scale: float) -> None:
    """Render a page in headless Chromium."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("Chromium is needed to draw the pictures, and was not found")
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(  # noqa: S603 - our own page, no shell
            [
                chromium, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
                "--disable-background-networking", "--disable-component-update", "--disable-sync",
                f"--user-data-dir={folder}/profile", "--hide-scrollbars",
                f"--force-device-scale-factor={scale}", f"--window-size={size}",
                f"--screenshot={picture}", "--virtual-time-budget=5000", address,
            ],
            check=True,
            capture_output=True,
        )  # fmt: skip


def terminal(*commands: str) -> str:
    """Run the command with each line of words; return a picture of the terminal, as SVG."""
    lines: list[tuple[str, str]] = []
    for words in commands:
        lines.append(("#f9bd5d", f"$ cottoncandy {words}"))
        result = CliRunner().invoke(main, shlex.split(words))
        # Messages after results, as they arrive.
        for text, colour in ((result.stdout, "#e8e8ee"), (result.stderr, "#9aa0b5")):
            for line in text.rstrip().replace(str(Path.cwd()), "/home/lab").splitlines():
                lines += [(colour, line[at : at + 108]) for at in range(0, len(line) or 1, 108)]
        lines.append(("", ""))
    height = 20 * len(lines) + 20
    rows = "".join(
        f'<text x="18" y="{20 * number + 32}" fill="{colour}" xml:space="preserve">'
        f"{html.escape(line)}</text>"
        for number, (colour, line) in enumerate(lines)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="940" height="{height}">'
        f'<rect width="940" height="{height}" fill="#1e1f2b"/>'
        f'<g font-family="ui-monospace,Menlo,Consolas,monospace" font-size="14">{rows}</g></svg>\n'
    )


def terminals() -> None:
    """Draw what the command prints."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        for name in ("run1.npy", "run2.npy", "notes.txt"):
            (Path("scans") / name).parent.mkdir(exist_ok=True)
            (Path("scans") / name).write_bytes(name.encode() * 100)
        y, x = np.mgrid[-1:1:90j, -1:1:120j]
        bold = np.clip(1 - np.hypot(x / 0.8, y), 0, 1) * 900
        cci = cc.get_interface("sub01", backend="local", verbose=False)
        cci.upload_raw_array("bold", bold.astype("f4"), subject="S1")
        cci.upload_dask_array("series", np.ones((40, 30)), axis=0, buffersize=2400)
        arrays = terminal("info sub01/bold", "preview sub01/bold")
        files = terminal("sync --dry-run scans copy", "sync scans copy", "sync scans copy")
        cci.rm("series/pt0001")
        checks = terminal("verify sub01")
    for name, picture in (("arrays", arrays), ("sync", files), ("verify", checks)):
        (IMAGES / f"terminal-{name}.svg").write_text(picture, "utf-8")


if __name__ == "__main__":
    IMAGES.mkdir(exist_ok=True)
    terminals()
    if "--terminals" in sys.argv:
        sys.exit()
    with tempfile.TemporaryDirectory() as place:
        source = Path(place) / "page.html"
        source.write_text(page(project()), "utf-8")
        photograph(source.as_uri(), IMAGES / "browser.png", "900,650", 1.5)
    print(f"wrote {IMAGES / 'browser.png'}")  # noqa: T201 - a script
