"""Built-in defenses: one file, or one folder, per plug-in; the file is the registration."""
