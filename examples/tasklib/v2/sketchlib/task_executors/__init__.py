"""How unit tasks are run."""
