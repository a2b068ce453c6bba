"""Many jobs in one run: rows in, files and a ledger out."""
