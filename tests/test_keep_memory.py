"""The allocator setting of training: freed blocks are used again, without new page faults."""

import os
import subprocess
import sys

import pytest

COUNT_FAULTS = """
import ctypes, resource, sys
sys.path.insert(0, sys.argv[1])
from convbert.cli import keep_freed_memory
if sys.argv[2] == "keep":
    keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
def use():
    block = libc.malloc(ctypes.c_size_t(40 << 20))
    ctypes.memset(block, 1, 40 << 20)
    libc.free(ctypes.c_void_p(block))
use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    use()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(repo_root, mode, **variables):
    """Page faults of five allocations of 40 MB in a process of its own."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("MALLOC_")}
    done = subprocess.run(
        [sys.executable, "-c", COUNT_FAULTS, str(repo_root), mode],
        env={**env, **variables},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    return int(done.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a setting of glibc")
def test_freed_memory_is_used_again(repo_root):
    default = faults(repo_root, "default")
    if default < 5 * 10:
        pytest.skip("this C library keeps large blocks by itself")
    assert faults(repo_root, "keep") < default / 20
    # what the user exported wins
    assert faults(repo_root, "keep", MALLOC_ARENA_MAX="2") > default / 2
