"""MCX as two brokers serve it: Zerodha Kite (WebSocket and REST) and Angel One (WebSocket and its list of scrips)."""
