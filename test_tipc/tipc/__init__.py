"""The TIPC runner behind the scripts in test_tipc.

Reading: ``formats`` has the tables of the configuration lines, ``config`` reads a file against one,
``environment`` checks the interpreter, its packages and the GPUs.
Planning: ``plan`` has the steps and what all chains share; ``train_infer``, ``serving``,
``paddle2onnx`` and ``benchmark`` are the chains.
Running: ``runner`` runs the steps and reports, ``processes`` starts and stops what they start,
``judge`` compares what the programs wrote with what was expected.
Inputs: ``prepare`` makes data and models.
"""
