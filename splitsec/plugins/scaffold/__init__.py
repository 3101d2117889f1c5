"""New plug-ins: files that work as they are written, to be edited into one's own method."""
