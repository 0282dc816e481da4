"""The fan-out server: WebSocket, REST, metrics, and the dashboard."""
