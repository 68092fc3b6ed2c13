"""cottoncandy's stores, as other libraries expect them: zarr and fsspec."""
