"""Vectors of texts: a small protocol for each way that services take texts and give numbers."""
