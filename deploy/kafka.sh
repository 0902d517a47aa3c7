#!/usr/bin/env bash
# One genuine Kafka broker without containers: for tests, and to try Quintet on Kafka on one machine.
#
#   deploy/kafka.sh fetch             the broker's jars into .cache/kafka (once; needs Maven)
#   deploy/kafka.sh run DIR [PORT]    a broker on 127.0.0.1:PORT (9092) in the foreground, data in DIR
#   deploy/kafka.sh start DIR [PORT]  the same in the background; returns when it is ready
#   deploy/kafka.sh stop DIR          stops the one that `start` left running
#
# The controller listens on CONTROLLER_PORT, or PORT + 1. KAFKA_CACHE is another place for the jars.
# With SASL_SSL_PORT a second listener there demands TLS and a password (PLAIN, SCRAM-SHA-256 or
# SCRAM-SHA-512): user quintet, password in DIR/tls/password, its own CA in DIR/tls/ca.pem.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
cache=${KAFKA_CACHE:-$(dirname "$here")/.cache/kafka}
libs=$cache/libs

fail() { echo "kafka.sh: $*" >&2; exit 1; }

fetched() {
  [ -d "$libs" ] && (cd "$libs" && sha256sum --status --check "$here/kafka.sha256" 2>/dev/null)
}

fetch() {
  fetched && return
  command -v mvn >/dev/null || fail "Maven is missing; run deploy/setup-system.sh"
  mkdir -p "$cache"
  # Several processes may want the jars at once: one fetches, the others wait and find them.
  exec 9>"$cache/lock"
  flock 9
  # Fetched or found, the lock ends here: a broker that inherited it would keep others waiting.
  fetched || fetch_alone
  exec 9>&-
}

fetch_alone() {
  rm -rf "$libs"
  mvn -q -B -f "$here/kafka-pom.xml" dependency:copy-dependencies \
    -DincludeScope=runtime -DoutputDirectory="$libs" >&2
  (cd "$libs" && sha256sum --quiet --check "$here/kafka.sha256" >&2) \
    || fail "the jars in $libs differ from deploy/kafka.sha256"
}

# A CA of this broker's own, a certificate for 127.0.0.1 and localhost that it signed, a password.
make_certificates() {
  local tls=$1
  [ -e "$tls/broker.pem" ] && return
  command -v openssl >/dev/null || fail "openssl is missing; run deploy/setup-system.sh"
  mkdir -p "$tls"
  (
    cd "$tls"
    umask 077
    openssl rand -hex 16 >password
    openssl req -x509 -newkey rsa:2048 -nodes -days 3650 -subj "/CN=Quintet test CA" \
      -keyout ca.key -out ca.pem
    openssl req -newkey rsa:2048 -nodes -subj "/CN=localhost" -keyout broker.key -out broker.csr
    openssl x509 -req -in broker.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 3650 \
      -extfile <(echo "subjectAltName=DNS:localhost,IP:127.0.0.1") -out broker.crt
    openssl pkcs8 -topk8 -nocrypt -in broker.key -out broker.pk8
    cat broker.pk8 broker.crt ca.pem >broker.pem
  ) >"$tls/openssl.log" 2>&1 || { cat "$tls/openssl.log" >&2; fail "no certificates in $tls"; }
}

secured_listener() {
  local dir=$1 login=org.apache.kafka.common.security password
  password=$(cat "$dir/tls/password")
  cat <<PROPERTIES
ssl.keystore.type=PEM
ssl.keystore.location=$dir/tls/broker.pem
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
listener.name.sasl_ssl.plain.sasl.jaas.config=$login.plain.PlainLoginModule required user_quintet="$password";
listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config=$login.scram.ScramLoginModule required;
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=$login.scram.ScramLoginModule required;
PROPERTIES
}

configure() {
  local dir=$1 port=$2 controller=$3 secured="" protocols="" scram=()
  mkdir -p "$dir"
  if [ -n "${SASL_SSL_PORT:-}" ]; then
    make_certificates "$dir/tls"
    secured=,SASL_SSL://127.0.0.1:$SASL_SSL_PORT
    protocols=,SASL_SSL:SASL_SSL
    for mechanism in SCRAM-SHA-256 SCRAM-SHA-512; do
      scram+=(--add-scram "$mechanism=[name=quintet,password=$(cat "$dir/tls/password")]")
    done
  fi
  cat >"$dir/server.properties" <<PROPERTIES
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:$controller
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller$secured
advertised.listeners=PLAINTEXT://127.0.0.1:${ADVERTISED_PORT:-$port},CONTROLLER://127.0.0.1:$controller$secured
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT$protocols
inter.broker.listener.name=PLAINTEXT
controller.listener.names=CONTROLLER
log.dirs=$dir/data
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
PROPERTIES
  [ -z "$secured" ] || secured_listener "$dir" >>"$dir/server.properties"
  [ -e "$dir/data/meta.properties" ] && return
  # The cluster's id never begins with "-", which would be read as an option.
  java -cp "$libs/*" kafka.tools.StorageTool format --standalone \
    -t "$(head -c 16 /dev/urandom | base64 | tr '+/' 'AB' | cut -c 1-22)" \
    -c "$dir/server.properties" ${scram[@]+"${scram[@]}"} >"$dir/format.log" 2>&1 \
    || { cat "$dir/format.log" >&2; fail "formatting $dir/data failed"; }
}

run() {
  local dir=$1 port=${2:-9092}
  command -v java >/dev/null || fail "Java is missing; run deploy/setup-system.sh"
  fetch
  configure "$dir" "$port" "${CONTROLLER_PORT:-$((port + 1))}"
  exec java -Xms128m -Xmx512m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 \
    -cp "$libs/*" kafka.Kafka "$dir/server.properties"
}

running() { [ -e "$1/pid" ] && kill -0 "$(cat "$1/pid")" 2>/dev/null; }

start() {
  local dir=$1
  running "$dir" && fail "a broker of $dir runs already, process $(cat "$dir/pid")"
  mkdir -p "$dir"
  fetch
  : >"$dir/broker.log"
  "$here/kafka.sh" run "$@" >>"$dir/broker.log" 2>&1 &
  echo $! >"$dir/pid"
  for _ in $(seq 300); do
    grep -q "Kafka Server started" "$dir/broker.log" && return
    running "$dir" || break
    sleep 0.2
  done
  tail -n 20 "$dir/broker.log" >&2
  fail "the broker did not start; $dir/broker.log says why"
}

stop() {
  local dir=$1
  running "$dir" || return 0
  kill "$(cat "$dir/pid")"
  for _ in $(seq 150); do
    running "$dir" || { rm -f "$dir/pid"; return 0; }
    sleep 0.2
  done
  fail "process $(cat "$dir/pid") does not stop"
}

case "${1:-}" in
  fetch) fetch ;;
  run | start | stop)
    [ $# -ge 2 ] || fail "usage: deploy/kafka.sh $1 DIR [PORT]"
    "$@"
    ;;
  *) sed -n '2,11s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
