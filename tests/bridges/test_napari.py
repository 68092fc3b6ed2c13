"""napari shows a lazy array, and loads the chunks of what it shows.

``.ci/run`` installs napari for it. No display is needed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

components = pytest.importorskip("napari.components")


def test_a_viewer_loads_the_plane_that_it_shows(cci: Any) -> None:
    values = np.arange(32 * 8 * 8, dtype=">i2").reshape(32, 8, 8)
    cci.upload_dask_array("a", values, axis=0, buffersize=2 * values[0].nbytes)
    lazy = cci.download_dask_array("a")
    before = cci.stats.requests
    viewer = components.ViewerModel()
    layer = viewer.add_image(lazy)
    # The first plane, the middle one and the last one set the contrast.
    assert cci.stats.requests - before <= 4 < len(lazy.chunks[0])
    before = cci.stats.requests
    viewer.dims.set_current_step(0, 5)
    assert cci.stats.requests - before == 1
    np.testing.assert_array_equal(layer._slice.image.view, values[5])
