"""What plug-in authors use, and how plug-ins are found and loaded."""
