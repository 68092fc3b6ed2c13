"""Operations on many objects: list what they concern, plan, run, report."""
