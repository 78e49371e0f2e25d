# Images of the service and the ingest job, without torch.
#   docker build --target cpu --tag cxr-retrieval:cpu .
#   docker build --target gpu --tag cxr-retrieval:gpu .
ARG PYTHON_TAG=3.11-slim-trixie

FROM python:${PYTHON_TAG} AS builder
RUN pip install --no-cache-dir uv==0.13.9
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_NO_CACHE=1 VIRTUAL_ENV=/opt/cxr
RUN uv venv /opt/cxr
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE NOTICE ./

# Dependencies first: they change less often than the code, so Docker can reuse their layer.
FROM builder AS builder-cpu
RUN uv pip install --requirements pyproject.toml --extra cpu --extra dicom --extra parquet --constraint constraints.txt
COPY retrieval retrieval
COPY archives archives
COPY ingest ingest
COPY evaluation evaluation
COPY exporters exporters
COPY service service
COPY cxr cxr
RUN uv pip install --no-deps .

FROM builder AS builder-gpu
# The GPU build is released separately and has other version numbers. Its extras install CUDA and cuDNN, so the host needs
# only the driver and the NVIDIA container toolkit.
ARG ONNXRUNTIME_GPU=1.31.1
RUN uv pip install --requirements pyproject.toml --extra gpu --extra dicom --extra parquet \
    "onnxruntime-gpu[cuda,cudnn]==${ONNXRUNTIME_GPU}" --constraint constraints.txt
COPY retrieval retrieval
COPY archives archives
COPY ingest ingest
COPY evaluation evaluation
COPY exporters exporters
COPY service service
COPY cxr cxr
RUN uv pip install --no-deps .

FROM python:${PYTHON_TAG} AS runtime
RUN useradd --system --uid 10001 --user-group --no-create-home cxr && install --directory --owner cxr --group cxr /var/lib/cxr
ENV PATH=/opt/cxr/bin:$PATH CXR_HOME=/var/lib/cxr PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    ORT_DISABLE_TELEMETRY=1 DO_NOT_TRACK=1
WORKDIR /var/lib/cxr
USER cxr
EXPOSE 8000
ENTRYPOINT ["cxr"]
# By default the service listens on loopback only; docker-compose.yml sets another address explicitly.
CMD ["--help"]

FROM runtime AS gpu
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=builder-gpu /opt/cxr /opt/cxr

FROM runtime AS cpu
COPY --from=builder-cpu /opt/cxr /opt/cxr
