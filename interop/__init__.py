"""Stock Cornserve 0.1.0 beside taskroll: its services as processes, and tests of what they do."""
