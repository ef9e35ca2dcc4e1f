"""Scoring the chunks of a table on a Ray cluster, with Ray Data.

A task on the caller's machine reads the file; every row of the Ray data set is one chunk. Each
worker is a process with its own engine, and runs the same `convbert.inference.score.Scorer` as a
single machine. Only the caller writes, so a chunk that is answered twice, because a worker died, is
written once. Only texts and answers go through Ray, not the other columns.
"""

import os
import pickle
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray.data import ActorPoolStrategy, DataContext
from ray.data.block import BlockMetadata
from ray.data.datasource import Datasource, ReadTask

from convbert.command import machine
from convbert.inference.score import Scorer, ScorerSettings
from convbert.inference.score_files import Chunk, open_score_file
from convbert.text.processing import Prediction
from paddlenlp.utils.checkout import ROOT
from paddlenlp.utils.errors import UserError

STORE_BYTES = 200 << 20  # Ray's object store on a cluster of one machine
RESTARTS = 3  # of a worker, before the job fails
RETRIES = 100  # of a chunk; a worker that is still restarting uses up several
READER_CPUS = 0  # workers may take all CPUs, and the reader must still start


@dataclass(frozen=True)
class Source(Datasource):
    """The input as a data source of Ray, with one task that reads the whole file.

    The arguments of `open_score_file`, the rows per chunk, and the names of the chunks that already
    have answers.
    """

    path: str
    columns: Sequence[str]
    prefix: str
    chunk_rows: int
    done: frozenset[str] = frozenset()

    def blocks(self) -> Iterator[Any]:
        """Yield Arrow tables of one row each: a chunk's name and its rows."""
        import pyarrow

        for chunk in open_score_file(self.path, self.columns, self.prefix).chunks(self.chunk_rows):
            if chunk.name not in self.done:
                yield pyarrow.table({"name": [chunk.name], "rows": [pickle.dumps(chunk.rows)]})

    def get_read_tasks(self, parallelism: int, *_: Any, **__: Any) -> list[ReadTask]:
        """The only task; this and the next method are Ray's interface."""
        size = self.estimate_inmemory_data_size()
        metadata = BlockMetadata(
            num_rows=None, size_bytes=size, exec_stats=None, task_exec_stats=None
        )
        return [ReadTask(self.blocks, metadata)]

    def estimate_inmemory_data_size(self) -> int:
        """The size of the file in bytes."""
        return os.path.getsize(self.path)


class _Worker:
    """An engine in a separate process."""

    def __init__(self, settings: ScorerSettings):
        if settings.options.uses_paddle:
            machine.return_freed_memory()
            machine.set_cpu_environment(settings.options.cpu_threads)
        self._scorer = Scorer(settings)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Answer chunks; a `UserError` is returned, because Ray would wrap it in its own error."""
        packed = []
        for rows in batch["rows"]:
            try:
                answer = self._scorer(pickle.loads(rows))
            except UserError as error:
                answer = (error.code, str(error))
            packed.append(pickle.dumps(answer, protocol=5))
        return {"name": batch["name"], "answers": packed}


def connect() -> None:
    """Connect to the cluster at ``RAY_ADDRESS``, or start one on this machine.

    Ray sends the code to the workers, which need only requirements-ray.txt and their engine.
    """
    if ray.is_initialized():
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    runtime = {"py_modules": [str(ROOT / "convbert"), str(ROOT / "paddlenlp")]}
    local: dict[str, Any] = {}
    if "RAY_ADDRESS" not in os.environ:
        local = {"num_cpus": machine.default_threads(), "object_store_memory": STORE_BYTES}
        local["include_dashboard"] = False
    ray.init(runtime_env=runtime, log_to_driver=False, **local)


def answer_on_ray(
    source: Source, settings: ScorerSettings, workers: int, chunks: Iterator[Chunk]
) -> Iterator[tuple[Chunk, list[Prediction]]]:
    """Answer chunks in order. With the first three arguments bound, this is an `Answer`.

    The model's directory must exist on all machines; ``workers`` is the number of engines.

    Raises:
        UserError: a text cannot be answered, or the workers of a chunk died repeatedly.
    """
    rows = iter(_data_set(source, settings, workers).iter_rows())
    for chunk in chunks:
        try:
            row = next(rows)
        except (ray.exceptions.RayError, StopIteration) as error:
            reason = str(error).strip().splitlines() or ["the file became shorter"]
            raise UserError("engine", f"Ray cannot answer {chunk.name}: {reason[-1]}") from None
        answers = pickle.loads(row["answers"])
        if isinstance(answers, tuple):
            raise UserError(*answers)
        assert row["name"] == chunk.name
        yield chunk, answers


def _data_set(source: Source, settings: ScorerSettings, workers: int) -> ray.data.Dataset:
    context = DataContext.get_current()
    context.execution_options.preserve_order = True
    context.target_max_block_size = 1  # a block for each chunk: workers get them one by one
    context.enable_progress_bars = False
    here = {"ray.io/node-id": ray.get_runtime_context().get_node_id()}
    chunks = ray.data.read_datasource(
        source, num_cpus=READER_CPUS, override_num_blocks=1, label_selector=here
    )
    return chunks.map_batches(
        _Worker,
        fn_constructor_args=(settings,),
        batch_size=1,
        compute=ActorPoolStrategy(size=workers),
        num_cpus=settings.options.cpu_threads or 1,
        max_restarts=RESTARTS,
        max_task_retries=RETRIES,
    )
