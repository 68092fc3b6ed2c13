"""The report: JSON, Markdown, and one plot per scenario."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

__all__ = ["add_row", "load", "ratio", "save", "write"]

MiB = 2**20
OURS = "cottoncandy"

#: MiB above the array that an array of 1 GiB may take, by codec.
MEMORY = {"none": 64, "default": 160}

_HEAD = """\
# Benchmarks

`python benchmarks/run.py` measured these figures on {date}: {cores} cores, shared by the client and
the server ({server}), on {system} ({processor}). Peers ran in turn, each in a separate process, and
what they read was compared with what was written. Times are ratios to cottoncandy's in one run,
medians over its rounds: 2x means that a peer took twice as long. *Limit* is bare obstore, without
checksums, dtypes and typed errors. Before an array was measured, memory was allocated and freed,
because a virtual machine returns free memory to its host.{busy}

## What was promised
"""


_TABLE = (
    "| task | seconds | CPU seconds | times as fast | at least | load of the machine |",
    "|---|---|---|---|---|---|",
)


def load(folder: Path) -> dict[str, Any]:
    """Return the results of earlier runs."""
    path = folder / "benchmarks.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"scenarios": {}}
    return found


def save(results: dict[str, Any], folder: Path) -> None:
    """Write the results only."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "benchmarks.json").write_text(json.dumps(results, indent=1) + "\n")


def add_row(folder: Path, table: str, title: str, *cells: str) -> None:
    """Add a row to a table of the report, or replace the one of that title; print it."""
    results = load(folder)
    load_now = f"{os.getloadavg()[0]:.0f}"
    rows = results.setdefault("tables", {}).setdefault(table, {})
    rows[title] = [*cells, load_now]
    write(results, folder, plots=False)
    print(" | ".join((title, *rows[title])), flush=True)


def write(results: dict[str, Any], folder: Path, *, plots: bool = True) -> None:
    """Write all files of the report; without ``plots``, those that exist remain."""
    (folder / "benchmarks").mkdir(parents=True, exist_ok=True)
    save(results, folder)
    if "machine" not in results:
        return  # only tables were measured
    machine = results["machine"]
    # Ratios of a busy machine say little about the limit, and about peers that use all cores.
    busy = ""
    if machine["load"] > machine["cores"] / 2:
        busy = "\n\n**The machine was busy with other work**: its load was "
        busy += f"{machine['load']:.0f} when the run began."
    lines = [_HEAD.format(busy=busy, **machine), *_promises(results["scenarios"])]
    for name, scenario in results["scenarios"].items():
        lines += ["", f"## {scenario['title'][0].upper()}{scenario['title'][1:]}", ""]
        path = folder / "benchmarks" / name
        if _plot(scenario, path) if plots else path.with_suffix(".png").exists():
            lines += [f"![{scenario['title']}: times](benchmarks/{name}.png)", ""]
        lines += _peers(scenario)
    for title, rows in results.get("tables", {}).items():
        lines += ["", f"## {title}", "", *_TABLE]
        lines += [f"| {' | '.join((row, *cells))} |" for row, cells in rows.items()]
    (folder / "benchmarks.md").write_text("\n".join(lines) + "\n")


def ratio(scenario: dict[str, Any], peer: str, field: str = "seconds") -> float | None:
    """Return how much more a peer needed, the median over rounds; None if unknown."""
    ours, its = (scenario["peers"].get(name, {}).get(field) for name in (OURS, peer))
    if not ours or not its:
        return None
    if len(its) < len(ours):  # slow peers are measured once
        return median(its) / max(median(ours), 1e-9)
    return median(b / max(a, 1e-9) for a, b in zip(ours, its, strict=True))


def _promises(found: dict[str, Any]) -> Iterator[str]:
    yield "| scenario | against | what | measured | at least | |"
    yield "|---|---|---|---|---|---|"
    for name, scenario in found.items():
        for key, what, field in (
            ("promised", "speed", "seconds"),
            ("cpu_promised", "CPU", "cpu"),
        ):
            for peer, least in scenario.get(key, {}).items():
                value = ratio(scenario, peer, field)
                if value is not None:
                    met = "yes" if value >= least - 0.005 else "**no**"
                    yield (
                        f"| {scenario['title']} | {peer} | {what} | {_times(value)} "
                        f"| {least:g}x | {met} |"
                    )
        limit = MEMORY.get(scenario["job"].get("codec", ""))
        ours = scenario["peers"].get(OURS, {})
        if name.startswith("large-") and limit and ours.get("memory"):
            value = _above(scenario, ours)
            met = "yes" if value <= limit else "**no**"
            yield (
                f"| {scenario['title']} | | memory above the array | {value:.0f} MiB "
                f"| at most {limit} MiB | {met} |"
            )


def _peers(scenario: dict[str, Any]) -> Iterator[str]:
    yield "| | time | CPU | memory, MiB | requests | sent, MB | received, MB |"
    yield "|---|---|---|---|---|---|---|"
    for peer, values in scenario["peers"].items():
        if "error" in values:
            yield f"| {peer} | failed: {values['error'].replace('|', '/')} | | | | | |"
            continue
        cells = [_times(ratio(scenario, peer)), _times(ratio(scenario, peer, "cpu"))]
        cells.append(f"{_above(scenario, values):.0f}" if values.get("memory") else "")
        cells.append(f"{values['requests']:,}" if "requests" in values else "")
        cells += [
            f"{values[key] / 1e6:,.1f}" if key in values else "" for key in ("sent", "received")
        ]
        yield f"| {peer} | {' | '.join(cells)} |"


def _above(scenario: dict[str, Any], values: dict[str, Any]) -> float:
    """Return the peak memory above the array that is returned, in MiB."""
    held: float = scenario["job"].get("mib", 0) if _returns_array(scenario["task"]) else 0
    return max(median(values["memory"]) - held, 0)


def _returns_array(task: str) -> bool:
    return task in ("down", "local_down", "read_chunks", "read_by_dask")


def _times(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.2f}x" if value < 10 else f"{value:.0f}x"


def _plot(scenario: dict[str, Any], path: Path) -> bool:
    """Draw the times of all peers, as SVG and PNG; return whether there is anything to draw."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    found = {peer: ratio(scenario, peer) for peer in scenario["peers"]}
    bars = sorted(
        ((value, peer) for peer, value in found.items() if value is not None), reverse=True
    )
    if len(bars) < 2:
        return False
    style = {"font.size": 11, "svg.hashsalt": "cottoncandy", "svg.fonttype": "none"}
    with plt.rc_context(style):
        figure, axes = plt.subplots(figsize=(7, 0.9 + 0.36 * len(bars)), layout="constrained")
        # A slow peer must not hide the others: its bar is cut, and its label has the number.
        widest = min(max(value for value, _ in bars), 6 * sorted(bars)[len(bars) // 2][0])
        for position, (value, peer) in enumerate(bars):
            colour = {OURS: "#d6336c", "limit": "#868e96"}.get(peer, "#74c0fc")
            axes.barh(position, min(value, widest), color=colour, height=0.7)
            cut = " →" if value > widest else ""
            axes.text(
                min(value, widest) + widest * 0.01, position, _times(value) + cut, va="center"
            )
        axes.axvline(1, color="#d6336c", linewidth=0.8, linestyle=":")
        axes.set_yticks(range(len(bars)), [peer for _, peer in bars])
        axes.set_xlim(0, widest * 1.14)
        axes.set_xticks([])
        title = f"{scenario['title'][0].upper()}{scenario['title'][1:]}"
        figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
        axes.set_xlabel("time, as a multiple of cottoncandy's: shorter is faster", loc="left")
        axes.spines[["top", "right", "bottom"]].set_visible(False)
        figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})
        figure.savefig(path.with_suffix(".png"), dpi=110, metadata={"Software": None})
        plt.close(figure)
    return True
