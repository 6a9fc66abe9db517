# Two stages, so that the image holds no compiler cache and no source tree. For another package index or a build of torch
# without CUDA, pass pip's own settings: docker build --build-arg PIP_INDEX_URL=… --build-arg PIP_EXTRA_INDEX_URL=…

FROM python:3.11-slim AS build
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/pairsieve
WORKDIR /src
# Dependencies change less often than code: first a package of empty rooms, then the real one.
COPY pyproject.toml constraints.txt README.md LICENSE ./
RUN mkdir ranking workers training service \
    && touch ranking/__init__.py workers/__init__.py training/__init__.py service/__init__.py \
    && /opt/pairsieve/bin/pip install -c constraints.txt . \
    && /opt/pairsieve/bin/pip uninstall --yes pairsieve
COPY ranking ranking
COPY workers workers
COPY training training
COPY service service
RUN /opt/pairsieve/bin/pip install --no-deps .

FROM python:3.11-slim
COPY --from=build /opt/pairsieve /opt/pairsieve
ENV PATH=/opt/pairsieve/bin:$PATH PYTHONUNBUFFERED=1 PAIRSIEVE_STORE=/data PAIRSIEVE_CACHE=/data/cache PAIRSIEVE_WEIGHTS=/data/weights HF_HOME=/tmp/hf
# A named volume takes the owner of the folder it is mounted on.
RUN useradd --uid 10001 --create-home pairsieve && install -d -o pairsieve -g pairsieve /data
USER pairsieve
WORKDIR /data
ENTRYPOINT ["pairsieve"]
CMD ["up"]
