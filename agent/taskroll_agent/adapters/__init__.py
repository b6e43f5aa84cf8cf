"""Adapters: each puts the agent into the processes of one platform, without a change of its code."""
