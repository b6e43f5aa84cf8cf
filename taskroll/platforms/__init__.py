"""What is particular to a platform that runs the tasks; a folder each."""
