"""What every property test checks: one line or an answer, in 2 s and 500 MB."""

import os
import resource
import time
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from paddlenlp.utils.errors import LONGEST_MESSAGE, UserError

EXAMPLES = os.environ.get("PROPERTY_EXAMPLES")
MAX_SECONDS, MAX_MEMORY = 2.0, 500 << 20

# The same examples in each run; PROPERTY_EXAMPLES=1000 looks for others.
bounded = settings(
    max_examples=int(EXAMPLES or 50),
    derandomize=not EXAMPLES,
    database=None,
    deadline=None,  # `read_or_refused` measures the time of the processor instead
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

# Texts that encoders and parsers stumble over, beside ordinary ones.
words = st.one_of(
    st.text(max_size=8),
    st.sampled_from(["\x00", "\ud800", "e\u0301", "\u202eabc", "\u2028", "\ufeff", "x" * 5000]),
)
values = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), words, st.just(10**400)
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)


def tables(*names: str, **known: st.SearchStrategy) -> st.SearchStrategy[dict[str, Any]]:
    """JSON objects with some of these names, and values of any kind or of the given ones."""
    entries = {name: known.get(name, values) for name in (*names, *known)}
    return st.fixed_dictionaries({}, optional=entries)


def read_or_refused(read: Callable[[], Any]) -> Any:
    """Return what ``read()`` returns, or None after a `UserError` of one line; check the bounds."""
    start, before, message = time.process_time(), _peak(), "-"
    try:
        found = read()
    except UserError as error:
        found, message = None, str(error)
    assert message
    assert "\n" not in message
    assert len(message) <= LONGEST_MESSAGE
    assert time.process_time() - start < MAX_SECONDS
    assert _peak() - before < MAX_MEMORY
    return found


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
