"""Cells: one is resolved, trained, attacked, scored and recorded here."""
