"""The ledger: join rules, packed rows and the in-memory reference that every other ledger must agree with."""
