"""Unit tasks: each does one thing."""
