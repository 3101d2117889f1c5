"""Draws phantoms: fundus photographs and chest X-rays that need no download."""
