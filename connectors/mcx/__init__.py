"""MCX futures over a broker's WebSocket: Zerodha Kite's binary protocol, or Angel One's behind the same session."""
