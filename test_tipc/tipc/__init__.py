"""The TIPC runner behind the scripts in test_tipc.

Reading: ``formats`` has the tables of the configuration lines; ``config`` reads a file and checks
it, also the interpreter, its packages and the GPUs.
Planning: ``plan`` has the steps; ``train_infer``, ``exported`` (serving and ONNX) and ``benchmark``
are the chains, which add the steps.
Running: ``runner`` starts and stops the steps and reports, ``judge`` compares the output of the
programs with the expected results.
Inputs: ``prepare`` makes data and models.
"""
