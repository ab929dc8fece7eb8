"""The pure wing's upper floor: one module a wire protocol."""
