"""Execution descriptors."""
