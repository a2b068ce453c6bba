"""The detector's network; importing it needs torch."""
