"""Records: what is written of a cell, and how it is read back."""
