"""What other systems cost; each runs in an environment of its own."""
