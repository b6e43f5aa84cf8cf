"""A small task library: it writes a sketch of a text."""
