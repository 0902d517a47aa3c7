#!/usr/bin/env bash
# Fill .venv with Quintet and its pinned dependencies. Needs Python 3.11 or newer and a package index.
set -euo pipefail
cd "$(dirname "$0")/.."

python=""
for name in python3.11 python3 python3.12 python3.13; do
  if command -v "$name" >/dev/null && "$name" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))'; then
    python=$(command -v "$name")
    break
  fi
done
if [ -z "$python" ]; then
  echo "Quintet needs Python 3.11, 3.12 or 3.13; install python3.11 and run this again." >&2
  exit 1
fi

# uv fills an environment in seconds; it lives in a folder of its own when the machine has none.
if command -v uv >/dev/null; then
  uv=uv
else
  uv=.cache/uv/bin/uv
  if [ ! -x "$uv" ]; then
    mkdir -p .cache
    "$python" -m venv .cache/uv >/dev/null 2>&1 && .cache/uv/bin/pip install -q --disable-pip-version-check uv \
      || "$python" -m pip install -q --disable-pip-version-check --root-user-action=ignore --target .cache/uv uv \
      || { echo "Could not install uv: install python3-venv (Debian: apt-get install python3-venv) and try again." >&2; exit 1; }
  fi
fi
[ -x .venv/bin/python ] || "$uv" venv -q --python "$python" .venv
"$uv" pip install -q --python .venv/bin/python --require-hashes -r requirements.lock
"$uv" pip install -q --python .venv/bin/python --no-deps --no-build-isolation -e .
# Compile the serving kernels once, so that no first request and no first process waits for it.
.venv/bin/python -c 'from policy.serving import prepare; prepare()' \
  || echo "The serving kernels are compiled at the first start instead." >&2
echo "Ready: .venv/bin/quintet --help" >&2
