"""Processes of tests: forked from this one, or from one that has the package loaded."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from multiprocessing.context import ForkServerProcess

__all__ = ["exit_code", "fork", "start"]

_LOADED = ["cottoncandy.cli.main", "cottoncandy.cloudfiles", "cottoncandy.transfer.sync", "boto3"]


def start(program: str) -> ForkServerProcess:
    """Run Python code in a new process, and return the process."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_LOADED)
    process = context.Process(target=exec, args=(program, {}), daemon=True)
    process.start()
    return process


def fork(call: Callable[[], object]) -> int:
    """Run a call in a forked child, which dies if it hangs; return the child's process id."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            signal.alarm(120)
            call()
            code = 0
        finally:
            os._exit(code)
    return child


def exit_code(child: int) -> int:
    """Wait for a child; return its exit status, negative if a signal ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
