"""FSHA: feature-space hijacking."""
