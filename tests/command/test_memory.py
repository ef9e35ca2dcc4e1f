"""The allocator settings: training uses freed blocks again, inference gives them back."""

import os
import subprocess
import sys

import pytest

COUNT_FAULTS = """
import ctypes, resource, sys
sys.path.insert(0, sys.argv[1])
from convbert.command.machine import keep_freed_memory, return_freed_memory
if sys.argv[2] == "keep":
    keep_freed_memory()
elif sys.argv[2] == "return":
    return_freed_memory()
size = int(sys.argv[3]) << 20
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
def use():
    block = libc.malloc(ctypes.c_size_t(size))
    ctypes.memset(block, 1, size)
    libc.free(ctypes.c_void_p(block))
use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    use()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(repo_root, mode, size=40, **variables):
    """Page faults of five allocations of ``size`` MB in a process of its own."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("MALLOC_")}
    done = subprocess.run(
        [sys.executable, "-c", COUNT_FAULTS, str(repo_root), mode, str(size)],
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


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a setting of glibc")
def test_freed_memory_is_returned(repo_root):
    # Below 32 MB glibc keeps blocks in its heap once one was freed.
    default = faults(repo_root, "default", size=20)
    if default > 5 * 5000:
        pytest.skip("this C library returns large blocks by itself")
    assert faults(repo_root, "return", size=20) > 3 * default
    # what the user exported wins
    assert faults(repo_root, "return", size=20, MALLOC_ARENA_MAX="2") < 2 * default
