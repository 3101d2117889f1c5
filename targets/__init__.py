"""Built-in targets: one file, or one folder, per plug-in; the file is the registration."""

if __name__ != "splitsec.targets":
    raise ImportError("import splitsec.targets, not targets: its classes would be loaded twice")
