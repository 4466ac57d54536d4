#!/bin/sh
# The package under a real systemd, which is booted in a container of its own: install, reload, three upgrades in a row
# under load, stop, crash. `systemd/test.sh` takes some three minutes, `systemd/test.sh --long` is the whole of it: 200
# streams of 60 s and 500 requests a second. As root, on Debian or something like it. Touches nothing of this machine
# but the folder of the container's root, which is made by debootstrap the first time and kept: TEST_ROOT.
# STREAMS, RATE (requests a second), SECONDS_OF_LOAD: other figures, for a machine that has other work. BINARY and STEADY: the
# gateway and the load generator; built, if they are not given.
set -eu
cd "$(dirname "$0")/.."

form=${1:---short}
case $form in
--short) profile=dev folder=debug streams=40 stream_words=40 rate=100 seconds=45 ;;
--long) profile=quick folder=quick streams=200 stream_words=120 rate=500 seconds=150 ;;
*) echo "usage: $0 [--short|--long]" >&2; exit 2 ;;
esac

streams=${STREAMS:-$streams} rate=${RATE:-$rate} seconds=${SECONDS_OF_LOAD:-$seconds}

cannot() {
    echo "systemd/test.sh cannot run here: $1" >&2
    exit 1
}
[ "$(id -u)" = 0 ] || cannot "it boots a container, and must be root for that"
for tool in debootstrap:debootstrap systemd-nspawn:systemd-container dpkg-shlibdeps:dpkg-dev strip:binutils; do
    command -v "${tool%:*}" >/dev/null 2>&1 || cannot "${tool%:*} is missing (package ${tool#*:}; \`.ci/setup systemd\` installs it)"
done

# A root of this machine's own release, since the binary is linked with its libraries.
suite=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
packages=systemd,systemd-sysv,dbus,ca-certificates,curl,jq,procps
root=${TEST_ROOT:-/var/cache/ai-gateway-test/$suite}
if [ ! -e "$root/.made-of-$packages" ]; then
    mirror=$(apt-get indextargets --format '$(SITE)' "Created-By: Packages" "Codename: $suite" 2>/dev/null | head -n 1)
    echo "making $root" >&2
    rm -rf "$root.new" "$root"
    mkdir -p "$root.new"
    debootstrap --variant=minbase --include="$packages" "$suite" "$root.new" ${mirror:+"$mirror"} >"$root.log" 2>&1 ||
        cannot "debootstrap failed: $(tail -n 3 "$root.log")"
    touch "$root.new/.made-of-$packages"
    mv "$root.new" "$root"
fi

if [ -z "${BINARY:-}" ] || [ -z "${STEADY:-}" ]; then
    ${CARGO:-cargo} build -q --profile "$profile" -p ai-gateway -p ai-gateway-benches --bin ai-gateway --bin steady
    target=${CARGO_TARGET_DIR:-target}/$folder
    BINARY=$target/ai-gateway STEADY=$target/steady
fi

work=$(mktemp -d)
container=
trap '[ -z "$container" ] || kill "$container" 2>/dev/null || true; rm -rf "$work"' EXIT
trap 'exit 1' INT TERM
strip -o "$work/ai-gateway" "$BINARY"
strip -o "$work/steady" "$STEADY"
for number in 1 2 3 4 5; do
    VERSION=9.9.$number COMPRESSION=none OUT=$work systemd/build-deb.sh "$work/ai-gateway" >/dev/null 2>&1
done
cp systemd/test/* "$work"
echo "streams=$streams stream_words=$stream_words rate=$rate seconds=$seconds" >"$work/scale"
touch "$work/log"

# The root stays as it is: what is written goes into memory, and goes with the container.
systemd-nspawn --quiet --boot --register=no --keep-unit --directory "$root" --volatile=overlay --private-network \
    --console=pipe --bind "$work:/test" --bind-ro "$work/gateway-test.service:/etc/systemd/system/gateway-test.service" \
    systemd.wants=gateway-test.service </dev/null >"$work/console" 2>&1 &
container=$!
tail -n +1 -f --pid="$container" "$work/log"
verdict=0
wait "$container" || verdict=$?
container=
if [ "$verdict" != 0 ]; then
    tail -n 5 "$work/console" >&2
    echo "systemd/test.sh: FAILED ($verdict)" >&2
    exit 1
fi
