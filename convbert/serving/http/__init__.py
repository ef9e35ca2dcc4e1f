"""The HTTP front end: the interface of Paddle Serving's gateway, with limits.

``app``          the routes: POST /convbert/prediction, GET /health, GET /metrics
``body``         the request body: size and time limits, JSON to a gRPC message
``connections``  limits on open connections

Paddle Serving's own gateway, a Go library, is not started: it listens on every address and has no
limits, timeouts or health route. This one runs in the supervisor's process, without Paddle.
"""
