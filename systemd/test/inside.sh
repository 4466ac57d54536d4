#!/bin/sh
# What systemd/test.sh runs in its container, as a service of that container's systemd.
set -eu
trap '[ "$?" = 0 ] || fail "see above"' EXIT
. /test/scale
began=$(date +%s)
address=127.0.0.1:8080
config=/etc/ai-gateway/gateway.toml

step() {
    printf '\n== %s (%s s)\n' "$*" "$(($(date +%s) - began))"
}
fail() {
    trap - EXIT
    echo "FAILED: $*"
    systemctl --no-pager --lines 0 status ai-gateway || true
    journalctl --no-pager -o cat -u ai-gateway | grep -v '^{' | tail -n 60
    exit 1
}
show() { # property
    systemctl show --property "$1" --value ai-gateway
}
ask() { # model: the answer's text
    curl -sS --max-time 60 "http://$address/v1/chat/completions" -H 'content-type: application/json' \
        -d "{\"model\": \"$1\", \"messages\": [{\"role\": \"user\", \"content\": \"hello\"}]}" | jq -r '.choices[0].message.content // .error.message'
}
stream() { # words, two a second: 0 if it comes whole
    curl -sSN --max-time 300 "http://$address/v1/chat/completions" -H 'content-type: application/json' \
        -d "{\"model\": \"mock/lorem-$1-every-500ms\", \"stream\": true, \"messages\": [{\"role\": \"user\", \"content\": \"hello\"}]}" >"/tmp/stream-$1" &&
        tail -n 3 "/tmp/stream-$1" | grep -q '^data: \[DONE\]'
}
until_true() { # seconds, command: waits for it to succeed
    tries=$(($1 * 10)) && shift
    while ! "$@" >/dev/null 2>&1; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || { echo "in vain: $*" && return 1; }
        sleep 0.1
    done
}
streams_under_way() {
    [ "$(curl -sS http://127.0.0.1:8081/mock/stats | jq .open)" -ge "$1" ]
}
alone() { # the main process is the only one of the unit
    [ "$(cat "/sys/fs/cgroup/unified$(show ControlGroup)/cgroup.procs" "/sys/fs/cgroup/systemd$(show ControlGroup)/cgroup.procs" \
        "/sys/fs/cgroup$(show ControlGroup)/cgroup.procs" 2>/dev/null | sort -u)" = "$(show MainPID)" ]
}
crash() { # twice: the first one only takes Rust's own handler away, which looks for an overflow of the stack
    kill -SEGV "$(show MainPID)" && kill -SEGV "$(show MainPID)"
}
healthy() {
    [ "$(show ActiveState) $(show SubState) $(show NRestarts)" = "active running ${1:-0}" ] ||
        fail "the unit is $(show ActiveState) $(show SubState), restarted $(show NRestarts) times"
    [ "$(readlink "/proc/$(show MainPID)/exe")" = /usr/bin/ai-gateway ] || fail "the main process runs $(readlink "/proc/$(show MainPID)/exe")"
}

step "the package is installed, and runs at once"
dpkg -i /test/ai-gateway_9.9.1_*.deb
until_true 10 curl -sSf http://127.0.0.1:9090/health/ready
[ "$(ask mock/echo)" = hello ] || fail "the gateway as installed says $(ask mock/echo)"
systemctl is-enabled --quiet ai-gateway || fail "not enabled"
healthy
man=/usr/share/man/man1/ai-gateway.1.gz
[ -s "$man" ] && zcat "$man" | grep -q upgrade || fail "no man page"
bash -n /usr/share/bash-completion/completions/ai-gateway

step "systemd-analyze security"
systemd-analyze security --no-pager --threshold=20 ai-gateway >/tmp/security || fail "$(tail -n 1 /tmp/security)"
tail -n 1 /tmp/security

step "a configuration of its own, with secrets that only systemd reads"
echo mock-secret >/etc/ai-gateway/credentials/mock
echo admin-secret-0123456789 >/etc/ai-gateway/credentials/admin
cp /test/gateway.toml "$config"
cp /usr/bin/ai-gateway /usr/local/bin/mock
systemd-run --quiet --unit=mock /usr/local/bin/mock mock
until_true 10 curl -sSf http://127.0.0.1:8081/mock/stats
systemctl restart ai-gateway
[ "$(ask assistant)" = hello ] || fail "the gateway says $(ask assistant)"
healthy
admin() { # path
    curl -sS -o /dev/null -w '%{http_code}' "http://127.0.0.1:9090$1" -H 'authorization: Bearer admin-secret-0123456789'
}
[ "$(admin /api/targets)" = 200 ] || fail "the admin key of the credential is not the admin key"

step "reload: a good file"
main=$(show MainPID)
sed -i 's/^\[models.assistant\]/[models.renamed]/' "$config"
systemctl reload ai-gateway
[ "$(ask renamed)" = hello ] || fail "the reloaded gateway says $(ask renamed)"
healthy
[ "$main" = "$(show MainPID)" ] || fail "a reload changed the main process"

step "reload: a bad file"
cp "$config" /tmp/good.toml
echo 'nonsense = "x"' >>"$config"
! systemctl reload ai-gateway || fail "a reload of a bad file succeeded"
journalctl --no-pager -u ai-gateway --since "-10s" | grep -m 1 nonsense || fail "nobody said what is wrong with the file"
[ "$(ask renamed)" = hello ] || fail "after a bad reload the gateway says $(ask renamed)"
healthy
main=$(show MainPID)
! dpkg -i /test/ai-gateway_9.9.2_*.deb || fail "an upgrade to a bad configuration succeeded"
[ "$(ask renamed)" = hello ] || fail "after a bad upgrade the gateway says $(ask renamed)"
[ "$main" = "$(show MainPID)" ] || fail "a bad upgrade changed the main process"
cp /tmp/good.toml "$config"
dpkg --configure ai-gateway
[ "$main" != "$(show MainPID)" ] || fail "the upgrade was not made up for"
healthy
until_true 20 alone

step "three upgrades in a row, while $streams streams of $((stream_words / 2)) s and $rate requests a second run for $seconds s"
# Records before that second are of the steps above.
sleep 1
curl -sS -o /dev/null -X POST http://127.0.0.1:8081/mock/reset
since=$(date -u +%Y-%m-%dT%H:%M:%SZ)
/test/steady $address --streams "$streams" --stream-model "mock/lorem-$stream_words-every-500ms" --rate "$rate" --seconds "$seconds" >/tmp/seen 2>&1 &
load=$!
until_true 20 streams_under_way "$streams"
for number in 3 4 5; do
    main=$(show MainPID)
    dpkg -i /test/ai-gateway_9.9.${number}_*.deb
    [ "$main" != "$(show MainPID)" ] || fail "the main process is the one before"
    healthy
    echo "main process $main -> $(show MainPID), $(pgrep -c -x ai-gateway) processes: $(show StatusText)"
    sleep 2
    [ "$number" != 4 ] || systemctl reload ai-gateway
done
clean=0
wait $load || clean=$?
cat /tmp/seen
[ $clean = 0 ] || fail "clients have noticed the upgrades"
until_true 20 alone
healthy
systemctl --no-pager status ai-gateway | head -n 12
[ -z "$(systemctl --failed --quiet)" ] || fail "$(systemctl --failed)"
! journalctl --no-pager -o cat -u ai-gateway --since "$(date -d "$since" '+%F %T')" | grep -v '^{' | grep -i -e ' error ' -e panicked -e failed ||
    fail "errors in the journal"

step "every request is in the ledger once"
answered=$(sed -E 's/streams=([0-9]+).* answers=([0-9]+).*/\1 \2/' /tmp/seen | { read -r streams answers && echo $((streams + answers)); })
served=$(curl -sS http://127.0.0.1:8081/mock/stats | jq .requests)
booked() {
    ai-gateway usage --config "$config" --by '' --from "$since" --json | tee /tmp/usage | jq '[.. | .requests? // empty] | add'
}
all_booked() {
    [ "$(booked)" = "$served" ]
}
until_true 10 all_booked || fail "the mock served $served, clients got $answered, the ledger has $(booked)"
echo "the mock served $served, clients got $answered, the ledger has $(booked)"
[ "$answered" = "$served" ] || fail "the mock served $served requests, and clients got $answered answers"

step "stop waits for streams, also for those of a process that an upgrade left behind"
stream 24 & old=$!
until_true 10 streams_under_way 1
ai-gateway upgrade --config "$config"
stream 16 & new=$!
until_true 10 streams_under_way 2
systemctl stop ai-gateway
wait $old || fail "a stop cut a stream of the process before"
wait $new || fail "a stop cut a stream"
[ "$(show ActiveState) $(show Result)" = "inactive success" ] || fail "stopped: $(show ActiveState), $(show Result)"

step "a crash is followed by a start"
systemctl start ai-gateway
ai-gateway upgrade --config "$config"
until_true 20 alone
serves_again() {
    [ "$(show NRestarts)" = "$1" ] && curl -sSf http://127.0.0.1:9090/health/ready && [ "$(ask renamed)" = hello ]
}
crash
until_true 5 serves_again 1
healthy 1

step "also just after an upgrade, and the streams of the process before go on"
stream 30 & old=$!
until_true 10 streams_under_way 1
ai-gateway upgrade --config "$config"
crash
until_true 15 serves_again 2
wait $old || fail "the crash of its successor cut a stream"
healthy 2

step "a process that hangs, too (WatchdogSec=)"
mkdir -p /etc/systemd/system/ai-gateway.service.d
printf '[Service]\nWatchdogSec=4s\n' >/etc/systemd/system/ai-gateway.service.d/watchdog.conf
systemctl daemon-reload
systemctl restart ai-gateway
kill -STOP "$(show MainPID)"
until_true 40 serves_again 1
healthy 1

step "the package is removed"
dpkg -r ai-gateway 2>&1 | tail -n 3
! pgrep -x ai-gateway || fail "it still runs"
[ -e "$config" ] && [ -e /var/lib/ai-gateway/ledger.db ] || fail "removal took more than the program"
dpkg -P ai-gateway >/dev/null 2>&1
[ -e /var/lib/ai-gateway/ledger.db ] || fail "the ledger went with the package"

step "all is well"
