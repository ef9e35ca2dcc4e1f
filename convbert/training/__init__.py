"""Fine-tuning (train.py) and pretraining (pretrain.py).

``settings``, ``pretrain_settings``  one dataclass of flags for each command
``tasks``       the GLUE tasks as one table
``data``        a tokenized split; ``sampler``: which examples form which batch
``optimizer``   AdamW with layer-wise learning rates, and the schedules
``ranks``       the processes of a distributed run
``run_folder``  the output directory; ``records``: what is printed and written
"""
