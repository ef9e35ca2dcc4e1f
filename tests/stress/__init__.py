"""Tests whose size is an option: a few kills, messages and seconds in CI, many by hand.

The commands of the large runs, and what they printed, are in docs/reliability.md.
"""
