"""How fast the product is: `make bench`, or one of these modules by `python -m benchmarks.NAME`.

Each prints a table and writes it as JSON. Times differ between machines, and on one machine with
what else it does; the ratios to a yardstick that is timed in turn with ours differ much less.
"""
