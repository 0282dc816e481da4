"""The performance suite behind `mandi bench`."""
