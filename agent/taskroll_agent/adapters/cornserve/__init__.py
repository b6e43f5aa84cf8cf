"""Cornserve: its registries and live objects follow the released generation.

====================  ==============================================================================
`hooks`               what of Cornserve is wrapped, each as its module is imported
`service`             starts agent and endpoints where the service starts to watch its definitions
`host`                the agent's `Host`: check in prepare, flip, attestation, census
`registries`          Cornserve's two registries, as they are for one generation
`conversion`          a live task made into one of the new class
`places`              where a service keeps live tasks
`apps`                the gateway's apps, made anew from their source
`equivalence`         tasks of two generations compared
`calls`               the gateway's and the dispatchers' HTTP calls: gate and lease
====================  ==============================================================================

Facts about Cornserve are those of 0.1.0, the newest release on PyPI. Nothing here imports Cornserve before the service
has done so itself.
"""
