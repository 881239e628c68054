"""How fast a bundle scores clips on this machine, beside how good it is. No torch."""
