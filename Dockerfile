# Training, export and inference in one image, for CPUs. Not built here (no container engine).
#   docker build --tag convbert .
#   docker run --rm convbert                                       (the chain on data/reviews)
#   docker run --rm --volume "$PWD/runs:/convbert/runs" convbert \
#       python train.py --data_dir data/reviews --from_scratch --vocab_file data/reviews/vocab.txt \
#       --output_dir runs/first
# The service has its own image: deploy/serving_python/container/Dockerfile.
ARG BASE=python:3.11-slim
FROM ${BASE}

# OpenMP, a dependency of Paddle's kernels.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /convbert
# The packages first: they change less often than the code.
COPY locks locks
RUN pip install --no-cache-dir --require-hashes --no-deps --only-binary ":all:" \
    --requirement locks/requirements.txt --requirement locks/requirements-openvino.txt

COPY . .

# A mounted folder must be writable for this user, or give --user.
RUN useradd --system --uid 999 --home-dir /convbert convbert \
    && mkdir -p runs \
    && chown convbert /convbert runs
USER 999

CMD ["python", "tools/quickstart.py", "--output_dir", "runs/quickstart"]
