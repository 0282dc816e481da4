"""WebSocket frames as a server writes them. Source: RFC 6455, section 5.2."""

import struct


def frame(message: str | bytes) -> bytes:
    """Return a message as one unmasked, unfragmented frame: text for a str, binary for bytes."""
    payload, opcode = (message.encode(), 0x81) if isinstance(message, str) else (message, 0x82)
    size = len(payload)
    if size < 126:
        return bytes((opcode, size)) + payload
    if size < 65_536:
        return struct.pack("!BBH", opcode, 126, size) + payload
    return struct.pack("!BBQ", opcode, 127, size) + payload
