"""What the TIPC scripts need beyond bash: configuration, plan, preparation, verdicts, summary.

``slots`` is the table of the configuration formats, ``config`` reads a file against it, ``plan``
turns one into steps, ``needs`` asks what the machine has, ``prepare`` gets data and models,
``verdict`` judges what the programs wrote, ``summary`` prints the table at the end, ``watch`` waits
for a server. Only the standard library is imported, except by ``prepare``.
"""
