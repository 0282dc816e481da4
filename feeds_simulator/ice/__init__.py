"""The ICE venue of docs/ice-profile.md: encoding, sessions and the WebSocket server."""
