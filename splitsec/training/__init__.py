"""Training: this room runs split training between clients and a server across the wire."""
