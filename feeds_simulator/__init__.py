"""The venues, simulated on their real wire protocols. Shares no code with `connectors`."""
