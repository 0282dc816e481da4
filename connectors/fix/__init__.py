"""A FIX engine without I/O: framing, fields, session. What it carries is the business of a venue's package."""
