"""Options: ``defaults.cfg``, the user's ``options.cfg``, the environment, then arguments.

Nothing is frozen when cottoncandy is imported: :meth:`Settings.load` resolves the options whenever
an interface is built. For programs written for 0.4.0 there are also ``config`` (the options as
text, a :class:`configparser.ConfigParser` merged at each access), ``userdir`` (the folder of
the user's options) and ``usercfg`` (the path of the options file).
"""

from __future__ import annotations

import configparser
from typing import Any

from cottoncandy.config.location import options_path, user_directory
from cottoncandy.config.options import Settings, get_config

__all__ = ["Settings", "config", "get_config", "usercfg", "userdir"]

# Resolved on access, by __getattr__.
config: configparser.ConfigParser
usercfg: str
userdir: str


def __getattr__(name: str) -> Any:
    if name == "config":
        return get_config()
    if name == "usercfg":
        return str(options_path())
    if name == "userdir":
        return str(user_directory())
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
