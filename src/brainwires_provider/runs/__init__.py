"""The loop that runs the tools which a model calls: `run.py` asks, `calls.py` runs, `mcp.py` brings servers' tools."""
