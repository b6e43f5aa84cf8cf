"""Which generation the running code means, for look-ups in Cornserve's own registries."""

from taskroll_agent.generation import Generation
from taskroll_agent.viewpoint import VIEW


def generation_in_view() -> Generation | None:
    """The generation of this context's lease, or that it is being put on; None where it means the current one."""
    view = VIEW.get()
    while view is not None:
        generation = None if view.modules is None else view.modules.generation
        if isinstance(generation, Generation):
            return generation
        view = view.outer
    return None
