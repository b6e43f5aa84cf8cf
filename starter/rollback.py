"""Which releases there were, which of them were taken back, and which one a rollback goes back to."""

from dataclasses import dataclass

from taskroll.models.errors import UnknownRelease
from taskroll_agent.contracts import Release


@dataclass(frozen=True)
class Restorable:
    """The releases that were ever current, newest first, and those among them that a rollback must not choose."""

    releases: list[Release]
    taken_back: frozenset[int]
    """Epochs of releases whose update failed after the commit, so that a compensation put the former content back."""

    @classmethod
    def of(cls, releases: list[Release]) -> "Restorable":
        """Sort out a chain of releases, newest first, as the pointer and each release's ``previous`` name them."""
        compensated = {release.request_id for release in releases if release.origin == "compensation"}
        bad = {
            release.epoch
            for release in releases
            if release.origin != "compensation" and release.request_id in compensated
        }
        return cls(releases, frozenset(bad))

    @property
    def current(self) -> Release | None:
        """What the pointer names; None before the first release."""
        return self.releases[0] if self.releases else None

    def candidates(self) -> list[Release]:
        """Releases that were not taken back and differ from the current one, newest first."""
        current = self.current
        if current is None:
            return []
        now = current.content_digest()
        return [
            release
            for release in self.releases[1:]
            if release.epoch not in self.taken_back and release.content_digest() != now
        ]


def rollback_target(known: Restorable, epoch: int | None) -> int:
    """The epoch to go back to.

    Args:
        known: The releases of the namespace.
        epoch: What was asked for; None takes the newest good release that differs from the current one. Going back to
            the current release itself is allowed where it is asked for: it ends as «no change».

    Raises:
        UnknownRelease: naming the releases that may be chosen.
    """
    if epoch is None:
        candidates = known.candidates()
        if not candidates:
            raise UnknownRelease(
                "there is no release to go back to: none before the current one differs from it and was good"
                if known.releases
                else "there is no release to go back to: nothing has been released yet"
            )
        return candidates[0].epoch
    if epoch in known.taken_back:
        raise UnknownRelease(f"release {epoch} was taken back: its update failed; {_choices(known)}")
    if all(release.epoch != epoch for release in known.releases):
        raise UnknownRelease(f"there is no release {epoch}; {_choices(known)}")
    return epoch


def _choices(known: Restorable, limit: int = 20) -> str:
    epochs = [release.epoch for release in known.releases if release.epoch not in known.taken_back]
    if not epochs:
        return "nothing has been released yet"
    more = f" and {len(epochs) - limit} older ones" if len(epochs) > limit else ""
    return "choose one of " + ", ".join(str(epoch) for epoch in epochs[:limit]) + more
