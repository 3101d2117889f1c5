"""Data sets: one file each, and the file is the registration."""
