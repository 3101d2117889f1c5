"""What tests share: makers of cells, records and parts, and readers of what is published."""
