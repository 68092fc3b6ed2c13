"""The command ``cottoncandy``: parses arguments, prints results, sets exit codes; nothing else."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading


def run() -> None:
    """Run the command. Ctrl-C while its modules are imported ends it without a traceback.

    Names are UTF-8, whatever the locale is.
    """
    if sys.getfilesystemencoding() != "utf-8":
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])  # noqa: S606 - no shell
    interrupting = signal.getsignal(signal.SIGINT)
    if interrupting is signal.default_int_handler:  # not ignored, as in a background job
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from cottoncandy.cli.main import main

    signal.signal(signal.SIGINT, interrupting)
    try:
        main()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    except OSError as error:  # of an output that takes neither help nor errors, such as a full disk
        sys.stderr.write(f"cottoncandy: {error.strerror}\n")
        status = 1
    # What follows in Python takes a fifth of the time of a short command. After Ctrl-C, native
    # code in a thread that still runs would crash in it.
    threading._shutdown()  # type: ignore[attr-defined]  # as Python begins to end
    atexit._run_exitfuncs()
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except (OSError, ValueError):
            status = status or 1
    os._exit(status)
