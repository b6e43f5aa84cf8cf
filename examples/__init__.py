"""An example of taskroll at work: a task library, services that use it, and a demo of updates in running services."""
