"""Prediction with trained models.

``dygraph``   opens a checkpoint, ``exported`` an exported directory: each with its text processor
``engines``   run an exported program
``export``    writes a checkpoint as a program
``quantize``  writes a program as int8 for OpenVINO, ``quantize_paddle`` for Paddle Inference
``classify``  answers many texts in batches and writes the answers; ``flags``: its command line
``default_model``  the bundled model, for commands that get no other
``evaluation``  numbers about a classifier on labelled texts; ``report_page``: an HTML page of them
``finite``    finds NaN and infinity in the weights of a program
``program``   reads inputs and sizes of a program file; ``protobuf``: the format of such files
"""
