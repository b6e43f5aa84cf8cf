"""Task packages as text: discovery of definitions, import graph and closure, checks, diffs, Git provenance.

Nothing here imports or runs a package, and what comes from somebody else is not even parsed in this process. Import
the modules by themselves; this one stays empty so that ``taskroll --help`` does not load griffe.
"""
