"""What sends requests: HTTP, and WebSocket."""
