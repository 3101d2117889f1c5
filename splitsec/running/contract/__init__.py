"""What a plug-in promises, checked: one module per kind, the runner and its report."""
