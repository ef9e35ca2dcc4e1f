"""The service around the Paddle Serving 0.9.0 pipeline.

``settings`` reads config.yml, ``requests`` checks what clients send, ``messages`` are the protobuf
messages, ``pipeline`` and ``engine`` run inside the pipeline's process, ``front`` and
``supervisor`` in the one that clients talk to, ``service`` ties both together.
"""
