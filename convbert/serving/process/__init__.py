"""One service on one machine: two processes, started, watched and stopped together.

``service``     the HTTP front end and the supervised pipeline, from start to stop
``supervisor``  keeps the pipeline's process running
``state``       the run folder: lock, process id, logs
``control``     start, stop and status from another process, for ``shell/serving.sh``

In a container most of this is the platform's work: it restarts a service that ended, gives each one
a file system and addresses of its own, collects and rotates its output, and asks /health before it
sends requests. There web_service.py runs in the foreground as the main process, and ``control`` and
the lock, process id and rotated log of ``state`` are not needed. The supervisor is needed in both
places, because Paddle Serving hides some of its failures: after some all requests hang in a process
that looks healthy, others kill its whole process group. The supervisor turns each of them into
answers with an error and a restart of a few seconds, and when restarts do not help into an exit
status. On a machine without such a platform ``shell/serving.sh`` uses all four modules.
"""
