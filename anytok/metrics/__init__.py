"""How good reconstructions and codes are: `anytok.metrics.audio`, `.image`, `.codes`."""
