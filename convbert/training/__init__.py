"""Fine-tuning and pretraining; the loops and steps themselves are in train.py and pretrain.py.

``settings``    the flags of both scripts as tables
``tasks``       the GLUE tasks as one table; ``own_data``: a task made from the user's files
``data``        tokenized splits, and which of their examples form which batch and step
``teacher``     a teacher's logits in a file, and the loss that follows them
``initial``     the vocabulary and the model that fine-tuning starts from
``optimizer``   AdamW with layer-wise learning rates, and the schedules
``run_folder``  the output directory; ``state``: the saved state from which a stopped run continues
``records``     printed lines, metrics files and the curve
"""
