"""Why a flow ends, kept where it was raised.

In a process of a cluster Bytewax does not tell: a worker that raises cuts off its peers, and what comes out is the
panic of a thread that served them ("Send thread panic"), in this process as in all others.
"""

from collections.abc import Iterator
from contextlib import contextmanager

_causes: list[Exception] = []


@contextmanager
def blamed() -> Iterator[None]:
    """Remember what is raised inside; also a decorator. The end of a source is no cause."""
    try:
        yield
    except StopIteration:
        raise
    except Exception as error:
        _causes.append(error)
        raise


def take_cause() -> Exception | None:
    """Return what was raised first since this was last asked."""
    first = _causes[0] if _causes else None
    _causes.clear()
    return first
