"""The world wing: how bytes reach a provider and come back."""
