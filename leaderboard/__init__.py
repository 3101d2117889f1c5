"""Ranking, tables and pages made from records; reads records and never trains."""
