"""Built-in defenses: one file, or one folder, per plug-in; the file is the registration."""

if __name__ != "splitsec.defenses":
    raise ImportError("import splitsec.defenses, not defenses: its classes would be loaded twice")
