#!/usr/bin/env bash
# Build the dashboard bundle in $2 with the machine's Node.js, else with the one that PyPI carries. Run by `make setup`.
set -euo pipefail
venv=$PWD/$1
web=$2

recent() { command -v node >/dev/null && command -v npm >/dev/null && node -e 'process.exit(+process.versions.node.split(".")[0] >= 20 ? 0 : 1)'; }

if ! recent; then
  echo "==> no Node.js 20 or later here: installing one into $1"
  "$venv/bin/pip" install --quiet --disable-pip-version-check --require-hashes -r requirements/node.txt
  export PATH="$venv/bin:$PATH"
fi
echo "==> building the dashboard"
cd "$web"
npm ci --silent --no-audit --no-fund
npm run --silent build
