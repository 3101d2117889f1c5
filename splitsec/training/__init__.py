"""Split training across the wire."""
