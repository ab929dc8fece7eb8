"""WebSocket connections: handshake, frames, close codes. Knows no field of any API."""
