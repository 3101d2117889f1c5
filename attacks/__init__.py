"""Built-in attacks: one file, or one folder, per plug-in; the file is the registration."""

if __name__ != "splitsec.attacks":
    raise ImportError("import splitsec.attacks, not attacks: its classes would be loaded twice")
