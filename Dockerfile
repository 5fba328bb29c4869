FROM python:3.12-slim AS build
WORKDIR /src

# The two locks change rarely, the project often: its wheel comes last. requirements.txt holds what
# the extra `all` needs: service and command line
COPY requirements.txt requirements-build.txt ./
RUN python -m venv --without-pip /opt/hacdbs-sim \
 && python -m pip --python /opt/hacdbs-sim install --no-cache-dir --require-hashes \
    -r requirements.txt \
 && python -m venv /opt/build \
 && /opt/build/bin/python -m pip install --no-cache-dir --require-hashes -r requirements-build.txt

COPY pyproject.toml README.md LICENSE ./
COPY hacdbs_sim hacdbs_sim
COPY app app
RUN /opt/build/bin/python -m pip wheel --no-cache-dir --no-deps --no-build-isolation \
    --wheel-dir /dist . \
 && python -m pip --python /opt/hacdbs-sim install --no-cache-dir --no-index --no-deps /dist/*.whl


FROM python:3.12-slim
COPY --from=build /opt/hacdbs-sim /opt/hacdbs-sim

# Only in the image does the service listen beyond loopback: the container's network is the fence
ENV PATH=/opt/hacdbs-sim/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HACDBS_HOST=0.0.0.0 \
    HACDBS_LOG_FORMAT=json

# A number, so that an orchestrator can see that it is not root
USER 65532:65532
WORKDIR /tmp
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=15s --retries=3 \
    CMD ["hacdbs-sim", "healthcheck"]
ENTRYPOINT ["hacdbs-sim"]
CMD ["serve"]
