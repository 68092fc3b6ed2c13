"""How values become bytes and back: pure, no store, no I/O."""
