"""Counts and causes in sentences."""


def counted(number: int, noun: str) -> str:
    """«1 replica», «2 replicas»."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def transport_cause(error: BaseException) -> str:
    """What matters in an error of Temporal's client: ``Connection refused``, not the ten brackets around it."""
    text = str(error) or type(error).__name__
    _, quoted, rest = text.partition('message: "')
    return rest.split('"', 1)[0] if quoted else text
