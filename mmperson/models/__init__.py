"""Networks in torch: encoders, fusion, heads."""
