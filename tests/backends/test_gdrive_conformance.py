"""Google Drive keeps the contract of all backends."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("pydrive2", reason="pydrive2 is not installed")

from tests.backends.conformance import BackendConformance
from tests.rigs import RIGS, Rig
from tests.servers.drive import DriveServer
from tests.servers.drive.rig import DriveRig

# oauth2client, which is no longer maintained, on Python 3.12 and later.
pytestmark = pytest.mark.filterwarnings("ignore:datetime.*utc:DeprecationWarning")


@pytest.fixture
def drive_server() -> Iterator[DriveServer]:
    with DriveServer() as server:
        yield server


def _rig(request: pytest.FixtureRequest) -> Rig:
    server = request.getfixturevalue("drive_server")
    return DriveRig(server, request.getfixturevalue("tmp_path"))


# Registered here and not in tests/rigs.py, since pydrive2 cannot live beside moto's server.
RIGS.setdefault("gdrive", _rig)


class TestGDrive(BackendConformance):
    rig_name = "gdrive"
    examples = 40
    histories = 4
