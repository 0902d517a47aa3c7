#!/usr/bin/env bash
# Stand-ins for images that this machine cannot pull: the same tags, the same programs from Debian's
# packages and Maven's jars, the same users and folders where compose depends on them.
#
#   tests/containers/stand_ins.sh CACHE IMAGE...   makes each IMAGE in the daemon of DOCKER_HOST
#
# Meant for a daemon of one's own (deploy/dockerd.sh): on another they would hide the real images.
# What was made is kept in CACHE, one file an image, and used again while this script is the same.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(dirname "$(dirname "$here")")
cache=$1
shift
mkdir -p "$cache"
cache=$(cd "$cache" && pwd)
kept=$cache/$(cat "$here/stand_ins.sh" "$root/deploy/kafka.sha256" | sha256sum | cut -c 1-12)
mkdir -p "$kept"
certificates=/etc/ssl/certs/ca-certificates.crt

fail() { echo "stand_ins.sh: $*" >&2; exit 1; }

python_slim() { # the system's own release, no more in it than Python
  local rootfs mirror codename
  command -v debootstrap >/dev/null || fail "debootstrap is missing; run deploy/dockerd.sh install"
  rootfs=$(mktemp -d "$cache/rootfs.XXXXXX")
  codename=bookworm # its Python is 3.11
  mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 2>/dev/null \
    | grep -m 1 '/debian/\?$' || echo http://deb.debian.org/debian)
  debootstrap --variant=minbase --include=ca-certificates,python3,python3-pip,python3-venv \
    "$codename" "$rootfs" "$mirror" >"$cache/debootstrap.log" 2>&1 \
    || { tail -n 5 "$cache/debootstrap.log" >&2; fail "debootstrap failed"; }
  for name in python pip; do ln -sf "/usr/bin/${name}3" "$rootfs/usr/local/bin/$name"; done
  rm -f "$rootfs"/usr/lib/python3*/EXTERNALLY-MANAGED
  rm -rf "$rootfs"/var/cache/apt/archives/*.deb "$rootfs"/var/lib/apt/lists/* \
    "$rootfs"/usr/share/{doc,locale}
  find "$rootfs/usr/share/man" -type f -delete # the folders are missed by packages
  cp "$certificates" "$rootfs$certificates" # those that this machine trusts
  tar -C "$rootfs" -c . | docker import \
    --change "ENV PIP_CERT=$certificates SSL_CERT_FILE=$certificates" \
    --change 'CMD ["python"]' - "$1" >/dev/null
  rm -rf "$rootfs"
}

build() { # IMAGE CONTEXT, the Dockerfile on standard input
  local output
  output=$(DOCKER_BUILDKIT=1 docker build --quiet --network host --tag "$1" --file - "$2" 2>&1) \
    || { tail -n 20 <<<"$output" >&2; fail "could not make a stand-in of $1"; }
}

packaged() { # IMAGE PACKAGES, further lines of the Dockerfile on standard input
  local empty
  empty=$(mktemp -d)
  { echo "FROM $python_image"
    echo "RUN apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q" \
      "--no-install-recommends busybox-static $2 && ln -s /bin/busybox /usr/local/bin/wget" \
      "&& rm -rf /var/lib/apt/lists/*"
    cat; } | build "$1" "$empty"
  rmdir "$empty"
}

kafka() { # the official image's own way from environment to properties is a class of the broker
  local context=$cache/kafka-context
  bash "$root/deploy/kafka.sh" fetch
  rm -rf "$context"
  mkdir -p "$context"
  cp -r "${KAFKA_CACHE:-$root/.cache/kafka}/libs" "$context/libs"
  cat >"$context/run" <<'RUN'
#!/bin/bash
set -e
java -cp '/opt/kafka/libs/*' kafka.docker.KafkaDockerWrapper setup \
  --default-configs-dir /etc/kafka/docker --mounted-configs-dir /mnt/shared/config \
  --final-configs-dir /opt/kafka/config
exec java ${KAFKA_HEAP_OPTS:--Xmx1G -Xms1G} -XX:+UseSerialGC -cp '/opt/kafka/libs/*' \
  kafka.Kafka /opt/kafka/config/server.properties
RUN
  build "$1" "$context" <<DOCKERFILE
FROM $python_image
RUN apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q \
      --no-install-recommends openjdk-17-jre-headless && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home appuser
COPY libs /opt/kafka/libs
COPY run /etc/kafka/docker/run
RUN chmod 0755 /etc/kafka/docker/run \
    && mkdir -p /opt/kafka/config /mnt/shared/config /var/lib/kafka/data /etc/kafka/secrets \
    && touch /etc/kafka/docker/server.properties /etc/kafka/docker/log4j2.yaml \
         /etc/kafka/docker/tools-log4j2.yaml \
    && chown -R appuser:appuser /opt/kafka/config /mnt/shared/config /var/lib/kafka /etc/kafka
USER appuser
VOLUME ["/etc/kafka/secrets", "/var/lib/kafka/data", "/mnt/shared/config"]
EXPOSE 9092
CMD ["/etc/kafka/docker/run"]
DOCKERFILE
  rm -rf "$context"
}

make() {
  case "$1" in
    python:3.11-slim) python_slim "$1" ;;
    apache/kafka:*) kafka "$1" ;;
    redis:*) packaged "$1" redis-server <<'DOCKERFILE'
USER redis
VOLUME /data
WORKDIR /data
CMD ["redis-server"]
DOCKERFILE
      ;;
    haproxy:*) packaged "$1" haproxy <<'DOCKERFILE'
USER haproxy
STOPSIGNAL SIGUSR1
CMD ["haproxy", "-W", "-db", "-f", "/usr/local/etc/haproxy/haproxy.cfg"]
DOCKERFILE
      ;;
    prom/prometheus:*) packaged "$1" prometheus <<'DOCKERFILE'
RUN install -d -o nobody -g nogroup /prometheus
USER nobody
WORKDIR /prometheus
VOLUME /prometheus
ENTRYPOINT ["prometheus"]
DOCKERFILE
      ;;
    *) fail "no stand-in is known for $1" ;;
  esac
}

python_image=python:3.11-slim
for image in "$python_image" "$@"; do
  docker image inspect "$image" >/dev/null 2>&1 && continue
  file=$kept/$(tr '/:' '--' <<<"$image").tar
  if [ -e "$file" ]; then
    docker load --quiet --input "$file" >/dev/null
    continue
  fi
  make "$image"
  docker save --output "$file.part" "$image"
  mv "$file.part" "$file"
done
