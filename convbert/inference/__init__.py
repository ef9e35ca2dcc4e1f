"""Trained models that answer.

``dygraph``    open a checkpoint; ``export``: write it as a program; ``quantize``: as int8
``program``    what an exported program says about itself; ``protobuf``: its message format
``engines``    run an exported program
``classify``   many texts in batches, where they come from and where answers go
"""
