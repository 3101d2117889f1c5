"""Grids of cells: which are run, where, and by whom."""
