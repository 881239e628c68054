"""How good networks are, and whether the way to a bundle is whole."""
