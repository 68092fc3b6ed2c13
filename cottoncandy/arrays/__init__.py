"""Arrays in a store, below the interfaces: raw and chunked."""
