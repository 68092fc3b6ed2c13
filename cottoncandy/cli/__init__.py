"""The command ``cottoncandy``: parses arguments, prints results, sets exit codes; nothing else."""

from __future__ import annotations

import signal


def run() -> None:
    """Run the command. Ctrl-C while its modules are imported ends it without a traceback."""
    interrupting = signal.getsignal(signal.SIGINT)
    if interrupting is signal.default_int_handler:  # not ignored, as in a background job
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from cottoncandy.cli.main import main

    signal.signal(signal.SIGINT, interrupting)
    main()
