"""The Paddle Serving 0.9.0 pipeline, with the changes that a reliable service needs.

``paddle_serving``  `prepare`: makes the package importable; call it before the modules below
``server``          runs the pipeline behind a gRPC server, watches its workers, stops it
``steps``           the steps of a request: check, unpack, label in a batch, answer
``runner``          the model of one worker: encodes texts, runs them in batches

Differences from Paddle Serving:

- requests with ``tensors`` are rejected before ``np.load`` can unpickle them;
- answers never contain internal errors;
- the server listens on one address and rejects calls instead of queueing them without limit;
- if a worker dies, the pipeline exits and its supervisor restarts it, so no request hangs;
- after SIGTERM in-flight calls are finished;
- `Runner` replaces the local predictor, which cannot read programs of Paddle 3, does not optimise
  programs, and uses the CPU without a warning if there is no GPU.
"""
