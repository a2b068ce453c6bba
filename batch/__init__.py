"""Many jobs in one run: rows in, files and a ledger out."""

PAIRINGS = ("zip", "product", "one-to-many")  # of sources and targets; see `manifest.Pairs`
