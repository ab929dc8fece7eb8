"""Bulk runs: many rows through one client, with a ledger of what was paid for."""
