"""Metrics: the leakage of reconstructions and the utility of models."""
