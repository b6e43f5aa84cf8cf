"""A service that is updated by strategy ``webhook``."""
