"""Location and creation of the options file.

The import of cottoncandy uses this module, so it imports nothing heavy and parses nothing.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

from cottoncandy.exceptions import ConfigurationError

#: Environment variable that names another options file.
OPTIONS_VARIABLE = "COTTONCANDY_OPTIONS"

_NAME = "options.cfg"

_WELCOME = """\
Welcome to cottoncandy!

Your options file is new. It is here:
    {path}

It can contain credentials for S3 or Google Drive, and many other options.

New objects on S3 get the ACL authenticated-read, which on AWS lets anyone with an AWS account
read them, unless the bucket has ACLs disabled. To keep data private, set in [basic]:
    default_acl = private
"""

_failure: OSError | ConfigurationError | None = None


def defaults_path() -> Path:
    """Return the path of ``defaults.cfg``: in the package, or above it in a source tree."""
    package = Path(__file__).resolve().parent.parent
    installed = package / "defaults.cfg"
    return installed if installed.exists() else package.parent / "defaults.cfg"


def user_directory() -> Path:
    """Return the folder of the user's options, whether or not it exists.

    Raises
    ------
    ConfigurationError
        If the user has no home directory.
    """
    import platformdirs

    home = _home()
    if sys.platform == "darwin":
        # Where 0.4.0 kept the file; platformdirs obeys XDG_CONFIG_HOME here, too.
        earlier = home / "Library" / "Application Support" / "cottoncandy"
        if (earlier / _NAME).exists():
            return earlier
    folder = platformdirs.user_config_path("cottoncandy", "cottoncandy")
    # "Consider the path invalid and ignore it" (XDG base directories) is new in platformdirs.
    return folder if folder.is_absolute() else home / ".config" / "cottoncandy"


def options_path() -> Path:
    """Return the path of the user's options file, whether or not it exists.

    Raises
    ------
    ConfigurationError
        If the user has no home directory.
    """
    named = os.environ.get(OPTIONS_VARIABLE)
    if not named:
        return user_directory() / _NAME
    try:
        return Path(named).expanduser()
    except RuntimeError as exc:  # "~nosuchuser"
        raise ConfigurationError(
            f"options file '{named}', named by {OPTIONS_VARIABLE}: {exc}"
        ) from exc


def ensure_options_file() -> None:
    """Create the user's options file if there is none. Never raises; see `creation_failure`.

    Several processes may call this at once: one of them creates the file and prints the welcome
    text.
    """
    global _failure
    _failure = None
    if os.environ.get(OPTIONS_VARIABLE):
        return  # a file that the user names is created by the user
    try:
        path = options_path()
        if os.path.lexists(path):
            return
        text = defaults_path().read_bytes()
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        from cottoncandy.core.files import write_private  # few imports need it

        created = write_private(path, text, replace=False)
    except (OSError, ConfigurationError) as exc:
        _failure = exc
        return
    # A closed stderr must not fail an import.
    with contextlib.suppress(OSError, ValueError):
        if created and sys.stderr is not None:
            sys.stderr.write(_WELCOME.format(path=path))


def creation_failure() -> OSError | ConfigurationError | None:
    """Return why the options file could not be created when cottoncandy was imported, if so."""
    return _failure


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError as exc:
        raise ConfigurationError(
            "the user has no home directory for an options file; set HOME, or let "
            f"{OPTIONS_VARIABLE} name an options file"
        ) from exc
