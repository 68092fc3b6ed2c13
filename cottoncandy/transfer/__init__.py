"""Operations on many objects: list what they concern, plan, run, report.

``engine`` runs many calls and reports every failure once, and ``entries`` lists either end, a store
or a disk. The other modules are an operation each.
"""
