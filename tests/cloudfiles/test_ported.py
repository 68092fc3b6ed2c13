"""Scripts written for cloud-files do the same after their imports are changed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import cottoncandy
from cottoncandy.cloudfiles import CloudFiles
from cottoncandy.cloudfiles.compression import normalize_encoding
from tests.cloudfiles.conftest import arguments_of
from tests.environments import CLOUD_FILES, EnvironmentUnavailableError

pytestmark = [pytest.mark.slow, pytest.mark.server]
SCRIPTS = Path(__file__).with_name("ported.py")


def run(python: Path | str, script: Path, base: str, home: Path) -> dict[str, Any]:
    root = Path(cottoncandy.__file__).parents[1]
    environment = {**os.environ, "HOME": str(home), "PYTHONPATH": str(root)}
    environment |= {"CLOUD_VOLUME_DIR": str(home / ".cloudvolume")}
    done = subprocess.run(
        [str(python), str(script), base],
        env=environment,
        cwd=home,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def stored(base: str, options: dict[str, Any]) -> dict[str, tuple[Any, ...]]:
    """Return content, and headers that users see, of all files."""
    cf = CloudFiles(base, **options)
    found = {}
    for file in cf.get(list(cf), raise_errors=False):  # one is not in its encoding
        head = cf.head(file["path"])
        encoding = normalize_encoding(head["Content-Encoding"])
        found[file["path"]] = (file["content"], encoding, head["Cache-Control"])
    return found


@pytest.mark.parametrize("kind", ["file", "moto", "ceph"])
def test_results_and_files_are_those_of_cloud_files(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    try:
        python = CLOUD_FILES.python()
    except EnvironmentUnavailableError as error:
        pytest.skip(f"cloud-files can't be installed: {error}")
    base, options = arguments_of(kind, request)
    before = tmp_path / "before.py"
    before.write_text(SCRIPTS.read_text().replace("cottoncandy.cloudfiles", "cloudfiles"))
    places = f"{base}/before", f"{base}/after"
    found = []
    for interpreter, script, place in zip(
        (python, sys.executable), (before, SCRIPTS), places, strict=True
    ):
        home = tmp_path / f"home-{len(found)}"
        folder = home / ".cloudvolume" / "secrets"
        folder.mkdir(parents=True)
        (folder / "aws-secret.json").write_text(json.dumps(options.get("secrets", {})))
        found.append(run(interpreter, script, place, home))
    for name in found[0]:
        assert (name, found[1][name]) == (name, found[0][name])
    theirs, ours = (stored(place, options) for place in places)
    assert ours == theirs
