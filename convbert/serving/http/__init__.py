"""The HTTP front end: path, body and answer of Paddle Serving's gateway, with limits.

``app``          the routes: POST /convbert/prediction, GET /health, GET /metrics
``body``         a request's body: read within bounds, JSON to a gRPC message
``connections``  bounds on open connections
``metrics``      what GET /metrics counts

Paddle Serving's own gateway, a Go library, is not started: it listens on every address and has no
limits, time-outs or health route. This one runs in the supervisor's process, without Paddle.
"""
