"""Runs one of Cornserve's stock services, or a stand-in for what needs a GPU, as a process on a loopback address.

It runs in Cornserve's own environment and imports nothing of taskroll.
"""
