"""One service on one machine: two processes that are started and stopped together.

``service``      the HTTP front end and the supervised pipeline, from start to stop
``supervisor``   keeps the pipeline's process running, and sends requests to it
``service_dir``  the run folder: lock, process id, logs

A container platform does most of this itself: it restarts a service that has exited, gives each one
its own file system and addresses, collects and rotates its output, and checks /health before it
sends requests. There web_service.py runs in the foreground as the main process, and control.py and
the lock, process id and rotated log of ``service_dir`` are not needed. The supervisor is needed in
both cases, because Paddle Serving hides some failures: after some of them all requests hang in a
process that looks healthy, others kill the whole process group. The supervisor then answers
requests with an error and restarts the pipeline within seconds. If restarts do not help, it exits
with an error status. On a machine without such a platform ``shell/serving.sh`` uses all of it.
"""
