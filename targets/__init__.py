"""Built-in targets: one file, or one folder, per plug-in; the file is the registration."""
