"""Cells: this room resolves, trains, attacks, scores and records each one."""
