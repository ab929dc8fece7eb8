"""This library underneath other frameworks. Each module needs its framework, an extra of the same name."""
