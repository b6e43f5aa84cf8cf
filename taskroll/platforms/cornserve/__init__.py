"""Cornserve: its gateway, and what uses a definition there. Written against 0.1.0."""
