"""The chapters of the demo, one file each: what happens, and what has to be seen."""
