"""Data: this room loads, decodes and caches images and splits them into parts."""
