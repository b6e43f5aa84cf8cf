"""Update task definitions inside a running system: every service on the same version, or none of them moved."""

__version__ = "0.1.0"
