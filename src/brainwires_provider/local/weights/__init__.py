"""Model files on this machine: reading, naming, finding and downloading them."""
