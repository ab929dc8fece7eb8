"""What providers offer besides chat, one module for each group of operations."""
