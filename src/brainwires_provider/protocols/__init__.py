"""One package for each wire protocol: pure functions between values and wire messages."""
