"""HTTP and WebSocket: the only listeners."""
