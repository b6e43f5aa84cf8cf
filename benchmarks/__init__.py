"""First figures of taskroll: ``python -m benchmarks``, or ``make bench``."""
