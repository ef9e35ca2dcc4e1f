"""Prediction with trained models.

``dygraph``   opens a checkpoint, ``exported`` an exported directory: each with its text processor
``engines``   run an exported program
``export``    writes a checkpoint as a program
``quantize``  writes a program as int8 for OpenVINO
``classify``  classifies texts in batches and writes the answers; ``inference_flags``: its flags
``default_model``  the bundled model, used if no other is given
``score``     adds answers to a table; ``score_files``: its formats; ``ray_cluster``: with Ray
``evaluation``  measures a classifier on labelled texts; ``report_page``: the results as HTML
``finite``    finds NaN and infinity in weights
``protobuf``  protobuf messages from tables of their fields
"""
