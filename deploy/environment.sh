#!/usr/bin/env bash
# Make the Python environment in $1 from the pinned requirements. Run by `make setup`.
set -euo pipefail
venv=$1

usable() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null; }

if ! { [ -x "$venv/bin/python" ] && usable "$venv/bin/python"; }; then
  for candidate in "${PYTHON:-}" python3.12 python3.11 python3 python; do
    if [ -n "$candidate" ] && usable "$candidate"; then python=$candidate; break; fi
  done
  if [ -z "${python:-}" ]; then
    echo "mandi: needs Python 3.11 or 3.12 (bytewax has no wheels for later ones): install one, or set PYTHON=" >&2
    exit 1
  fi
  echo "==> creating the Python environment with $("$python" --version)"
  rm -rf "$venv"
  if ! "$python" -m venv "$venv"; then
    echo "mandi: Python cannot create a virtual environment; on Debian and Ubuntu: apt install python3-venv" >&2
    exit 1
  fi
fi
echo "==> installing the pinned packages"
"$venv/bin/pip" install --progress-bar off --disable-pip-version-check --require-hashes -r requirements/dev.txt \
  | awk '/^Collecting/ && ++n % 10 == 0 { print "    " n " packages found"; fflush() }
         /^Installing collected/ { print "    unpacking them"; fflush() }'
"$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
