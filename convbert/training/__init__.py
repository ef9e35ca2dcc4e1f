"""Fine-tuning and pretraining; the loops and steps themselves are in train.py and pretrain.py.

``settings``    two dataclasses of flags
``tasks``       the GLUE tasks as one table; ``own_data``: a task made from the user's files
``data``        a tokenized split, and which of its examples form which batch
``corpus``      sequences and masks of pretraining
``teacher_logits``  a teacher's logits in a file; ``distillation``: losses that use them
``initial``     the vocabulary and the model that fine-tuning starts from
``optimizer``   AdamW with layer-wise learning rates, and the schedules
``ranks``       the processes of a distributed run
``run_folder``  the output directory; ``state``: the saved state from which a stopped run continues
``records``     printed lines, metrics files and the curve
"""
