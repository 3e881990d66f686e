"""THE DOOR: translates, decides nothing."""
