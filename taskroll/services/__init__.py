"""How a running service is reached: which replicas it has, and how each of them is told and asked.

The verbs, one a file: `list_replicas`, `prepare`, `invalidate`, `verify`, `attest_all`, `abort_prepared`. Each takes a
`Fleet`, a namespace, and a `Deadline` where it makes calls.
"""
