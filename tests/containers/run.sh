#!/usr/bin/env bash
# `make containers`: build both images, bring up docker-compose.yml, check it (tests/containers/check.py),
# take it down. Uses the Docker that runs here; where none does and this is root, one of its own
# (deploy/dockerd.sh) that leaves nothing behind. There, images that cannot be pulled are replaced by
# stand-ins, and the first lines say which; what has no stand-in is left out, and they say that too.
set -euo pipefail
cd "$(dirname "$0")/../.."

cache=.cache/containers
mkdir -p "$cache"
work=$(mktemp -d)
own=""
seconds() { printf '%6d s  ' "$((SECONDS - began))"; began=$SECONDS; }
began=$SECONDS

cleanup() {
  local status=$?
  rm -rf "$work"
  [ -z "$own" ] || deploy/dockerd.sh stop "$own"
  exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

if docker info >/dev/null 2>&1; then
  network=()
else
  deploy/dockerd.sh install
  own=$(pwd)/$cache/docker
  PATH=/usr/bin:$PATH # the client that belongs to the daemon
  DOCKER_HOST=$(deploy/dockerd.sh start "$own")
  export DOCKER_HOST
  network=(--network host) # what builds reaches package indexes as this machine does
fi
seconds; echo "Docker $(docker version --format '{{.Server.Version}}')${own:+, started for this run alone}"

stand_ins=() left_out=()
mapfile -t images < <(sed -n 's/^ *image: *\([^ ]*\)$/\1/p' docker-compose.yml | grep -v '^quintet-')
for image in python:3.11-slim "${images[@]}"; do
  docker image inspect "$image" >/dev/null 2>&1 && continue
  timeout 300 docker pull --quiet "$image" >/dev/null 2>&1 && continue
  [ -n "$own" ] || { echo "cannot pull $image" >&2; exit 1; }
  case "$image" in
    grafana/*) left_out+=("$image") ;;
    *) stand_ins+=("$image") ;;
  esac
done
if [ ${#stand_ins[@]} -gt 0 ]; then
  bash tests/containers/stand_ins.sh "$cache" "${stand_ins[@]}"
  seconds; echo "STAND-INS, not the real images (these cannot be pulled here): ${stand_ins[*]}"
fi
[ ${#left_out[@]} -eq 0 ] || echo "          LEFT OUT (cannot be pulled, no stand-in): ${left_out[*]}"

for target in ring train; do
  DOCKER_BUILDKIT=1 docker build --quiet ${network[@]+"${network[@]}"} --target "$target" \
    --tag "quintet-$target" . >"$work/build.log" 2>&1 || { tail -n 30 "$work/build.log" >&2; exit 1; }
  seconds; echo "built quintet-$target, $(($(docker image inspect --format '{{.Size}}' "quintet-$target") / 1000000)) MB"
done

deploy/env.sh "$work/env" 2>/dev/null
echo RING_RATE=20 >>"$work/env"
python3 - >>"$work/env" <<'PYTHON'
import socket

names = ("RING_PORT", "RING_CONSOLE_PORT", "RING_PROMETHEUS_PORT", "RING_GRAFANA_PORT")
found = [socket.create_server(("127.0.0.1", 0)) for _ in names]
for name, taken in zip(names, found, strict=True):
    print(f"{name}={taken.getsockname()[1]}")
PYTHON
without=()
[ ${#left_out[@]} -eq 0 ] || without=(--without grafana)
python3 -m tests.containers.check --env-file "$work/env" ${without[@]+"${without[@]}"} "$@"
echo "all of it in $SECONDS s"
