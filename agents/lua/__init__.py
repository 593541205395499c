"""The Redis scripts of the ledger, shipped as package data."""
