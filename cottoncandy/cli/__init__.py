"""The command ``cottoncandy``: parses arguments, prints results, sets exit codes; nothing else."""

from __future__ import annotations

import os
import signal
import sys


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
    main()
