"""Running: this room runs the cells of a grid, in this process, in workers or on a cluster."""
