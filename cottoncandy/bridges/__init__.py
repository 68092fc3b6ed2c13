"""cottoncandy's stores, as other libraries expect them: fsspec, xarray and zarr."""
