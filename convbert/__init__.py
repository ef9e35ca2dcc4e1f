"""The application around the ConvBERT model, in rooms that import only from those below them.

``serving``    the service: HTTP, the Paddle Serving pipeline, its processes
``explain``    kernels, attention and effects of words as pictures
``training``   ``inference``   fine-tuning and pretraining; exported models and their engines
``text``       texts to features, logits to answers, files of texts
``command``    the command line: flags, the common start, exit statuses
"""
