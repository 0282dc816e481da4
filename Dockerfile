# Mandi in one image: every process of deploy/compose.yaml is `mandi COMMAND` in it, as a user without rights.
# Packages are those of requirements/run.txt, each checked against its hash; the dashboard's are those of its lock file.

FROM node:22-bookworm-slim AS dashboard
WORKDIR /src
COPY dashboards/web/package.json dashboards/web/package-lock.json ./
RUN npm ci --no-audit --no-fund
COPY dashboards/web ./
RUN npm run --silent build

FROM python:3.11-slim-bookworm AS environment
COPY requirements/run.txt /src/requirements.txt
RUN python -m venv /opt/venv \
    && /opt/venv/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes --only-binary :all: \
       -r /src/requirements.txt

FROM python:3.11-slim-bookworm
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin mandi \
    && install -d -o mandi -g mandi -m 0700 /var/lib/mandi
COPY --from=environment /opt/venv /opt/venv
WORKDIR /opt/mandi
COPY market market
COPY connectors connectors
COPY sinks sinks
COPY pipelines pipelines
COPY gateway gateway
COPY feeds_simulator feeds_simulator
COPY mandi mandi
COPY benchmarks benchmarks
COPY sql sql
COPY dashboards/prometheus dashboards/prometheus
COPY --from=dashboard /src/dist dashboards/web/dist
ENV PATH=/opt/venv/bin:$PATH PYTHONPATH=/opt/mandi PYTHONDONTWRITEBYTECODE=1 MANDI_DATA_DIR=/var/lib/mandi
USER mandi
VOLUME /var/lib/mandi
WORKDIR /var/lib/mandi
ENTRYPOINT ["python", "-m", "mandi"]
CMD ["--help"]
