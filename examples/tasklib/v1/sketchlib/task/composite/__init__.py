"""Composite tasks: they call unit tasks."""
