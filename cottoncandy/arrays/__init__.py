"""Arrays of several kinds in a store: raw, chunked and sparse ones, and trees of them.

``raw``, ``chunked`` and ``sparse`` read one kind each; ``versions`` opens whichever a name stands
for, and ``handle`` is what users get. ``manifests`` and ``generations`` replace a value of several
objects in one instant, which ``uploads``, ``sparse`` and ``cleaning`` build on.
"""
