"""Authentication: keys and tokens, and the headers that carry them."""
