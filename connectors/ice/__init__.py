"""ICE over WebSocket (docs/ice-profile.md): `codec` decodes, `session` keeps sequence, `source` does the I/O."""
