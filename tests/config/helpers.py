"""Helpers shared by the tests of options."""

from __future__ import annotations

import dataclasses
import logging
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from cottoncandy.config.options import Settings, declared_options

__all__ = ["FILE_OF_040", "MB", "ROOT", "options_text", "run_python", "warned"]

MB = 2**20


ROOT = Path(__file__).resolve().parent.parent.parent


# What 0.4.0 writes on its first import, to the letter: every default, no comment.
FILE_OF_040 = """\
[login]
access_key = False
secret_key = False
endpoint_url = https://s3.amazonaws.com/
verbose_boto = False

[basic]
default_acl = authenticated-read
default_bucket = 
mandatory_bucket_prefix = 
force_bucket_creation = False
path_separator = /
signature_version = 
threads = 4

[upload_settings]
mpu_use_threshold = 200
mpu_chunksize = 100
dask_chunksize = 100
min_mpu_size = 5
max_put_size = 5000
max_mpu_size_tb = 5
max_mpu_parts = 10000

[download_settings]
mpd_use_threshold = 100
mpd_chunksize = 100

[extensions]
ccgroup = grp, ccg
ccdataset = arr, dar, rarr, ccd

[gdrive]
secrets = client_secrets.json
credentials = credentials.txt

[compression]
do_compression = True
small_array = gzip
large_array = Zstd

"""  # noqa: W291 - 0.4.0 leaves a blank behind an empty value


def options_text() -> str:
    """Return the sections of ``defaults.cfg`` that the declarations describe."""
    descriptions = {
        name: " ".join(text.split())
        for name, text in re.findall(
            r"^    (\w+) : .*\n((?:        .*\n)+)", Settings.__doc__ or "", re.MULTILINE
        )
    }
    lines, before = [], ""
    for (section, name), each in declared_options().items():
        if section != before:
            lines += ["", f"[{section}]"]
        before = section
        lines += [f"# {line}" for line in textwrap.wrap(descriptions[each.name], 98)]
        lines.append(f"{name} = {default_text(each)}".rstrip())
    return "\n".join([*lines[1:], ""])


def default_text(option: dataclasses.Field[Any]) -> str:
    """Return an option's default as text in a file."""
    value = option.default
    if value is None:
        return "auto" if option.name == "progress" else ""
    if isinstance(value, tuple):
        return ", ".join(value)
    if option.name.endswith("_bytes"):
        return str(value // MB)
    return str(value)


def warned(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """Return what this library logged; others do so in threads that outlive their tests."""
    return [record for record in caplog.records if record.name.startswith("cottoncandy")]


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run code in a new interpreter that finds this cottoncandy."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code], env=env, text=True, capture_output=True
    )
