"""The contract checks of plug-ins: one module per kind, the runner and its report."""
