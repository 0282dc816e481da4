"""Everything that brings data in: venue sessions, the log reader, replay files."""
