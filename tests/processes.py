"""Processes that begin where the imports end: forked from one that has the package loaded."""

from __future__ import annotations

import multiprocessing
from multiprocessing.context import ForkServerProcess

__all__ = ["start"]

_LOADED = ["cottoncandy.cli.main", "cottoncandy.cloudfiles", "cottoncandy.transfer.sync", "boto3"]


def start(program: str) -> ForkServerProcess:
    """Run Python code in a new process, and return the process."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_LOADED)
    process = context.Process(target=exec, args=(program, {}), daemon=True)
    process.start()
    return process
