"""The Paddle Serving 0.9.0 pipeline, with the changes that a reliable service needs.

``paddle_serving``  `prepare`: makes the package importable; call it before the modules below
``server``          runs the pipeline behind a gRPC server, watches its workers, ends it
``steps``           the steps of a request: check, unpack, label with others that wait, answer
``runner``          one worker's model: encodes texts, runs them in batches

What differs from Paddle Serving: requests with ``tensors`` are refused before ``np.load`` could
unpickle them, answers never show internal errors, the server listens on one address and refuses
calls instead of queueing them without bound, the death of a worker ends the pipeline (its
supervisor restarts it) instead of leaving requests hanging, and SIGTERM finishes the calls in
flight. `Runner` takes the place of its local predictor, which reads no programs of Paddle 3, does
not optimise them, and uses the CPU without a warning when it finds no GPU.
"""
