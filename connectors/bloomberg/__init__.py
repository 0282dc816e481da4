"""Bloomberg through its SDK: FX, cross-listed commodities, news."""
