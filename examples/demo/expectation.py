"""What the demo expects of each chapter. It ends with exit code 1 where it is not so."""


class ExpectationNotMet(Exception):
    """The demo saw something else than it promises to show."""


def expect(is_met: bool, promise: str, seen: object = None) -> None:
    """Raises ExpectationNotMet, with what was promised and what was seen instead."""
    if not is_met:
        raise ExpectationNotMet(f"expected: {promise}" + (f"; seen: {seen}" if seen is not None else ""))
