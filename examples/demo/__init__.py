"""The demo: real updates in running services. ``python -m examples.demo``, or ``make demo``."""
