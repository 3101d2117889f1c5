"""Code that plug-ins may share; its source is part of every cell's identity."""
