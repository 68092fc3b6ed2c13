"""Arrays of several kinds in a store: raw, chunked and sparse ones, and trees of them."""
