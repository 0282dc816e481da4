#!/usr/bin/env bash
# Make up the passwords that deploy/compose.yaml needs, in deploy/secrets/; what is there stays as it is.
set -euo pipefail
cd "$(dirname "$0")"
mkdir -p secrets
chmod 0700 secrets

word() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }
make_up() { [ -e "secrets/$1" ] || printf '%s' "$2" >"secrets/$1"; }

make_up postgres "$(word)"
make_up clickhouse "$(word)"
make_up grafana "$(word)"
make_up jwt "$(word)"
make_up clickhouse.env "CLICKHOUSE_PASSWORD=$(cat secrets/clickhouse)
"
make_up mandi.env "MANDI_TIMESCALE=postgresql://mandi:$(cat secrets/postgres)@timescale:5432/mandi
MANDI_CLICKHOUSE=http://mandi:$(cat secrets/clickhouse)@clickhouse:8123
"
make_up backend.env "# Of the simulated trading backend; of yours: docs/venues.md.
MANDI_BACKEND_OUTBOX=postgresql://mandi:$(cat secrets/postgres)@timescale:5432/mandi
MANDI_BACKEND_OUTBOX_HOURS=24
"
make_up webhooks.toml "# The receivers of webhooks, and their keys: docs/oncall.md.
"
# Users of the containers read the files, whatever the umask here: it is the directory that keeps others out.
chmod 0644 secrets/*
echo "deploy/secrets: $(ls secrets | tr '\n' ' ')"
