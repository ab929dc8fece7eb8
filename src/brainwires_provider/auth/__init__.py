"""Who we are, to a provider: keys and tokens, and the headers that carry them."""
