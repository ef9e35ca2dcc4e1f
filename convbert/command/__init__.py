"""The command line of every script: flags, the common start, exit statuses.

``flags``       typed flags and a parser whose errors are one line
``start``       `run_main` around every ``main``: one-line errors, exit statuses, signals
``machine``     threads, memory, Paddle's environment and the device
``provenance``  machine, versions, commit and date, for files of measured numbers
"""
