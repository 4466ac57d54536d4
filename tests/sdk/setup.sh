#!/bin/sh
# Installs the SDKs of the conformance suite and the coding agents at their pinned versions into tests/.sdk. Does nothing
# when that is done.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
home="$here/../.sdk"
mkdir -p "$home"

need() {
    command -v "$1" >/dev/null 2>&1 || { echo "tests/sdk/setup.sh: '$1' is missing; install $2" >&2; exit 1; }
}

stamp=$(cat "$here/requirements.txt" "$here/node/package.json" "$here/agents/package.json" | cksum)
if [ -f "$home/stamp" ] && [ "$(cat "$home/stamp")" = "$stamp" ]; then
    exit 0
fi

need python3 "python3 and python3-venv"
need npm "nodejs and npm"

[ -x "$home/venv/bin/python" ] || python3 -m venv "$home/venv"
"$home/venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$here/requirements.txt"

for packages in node agents; do
    mkdir -p "$home/$packages"
    cp "$here/$packages/package.json" "$home/$packages/package.json"
    (cd "$home/$packages" && npm install --no-audit --no-fund --no-package-lock --loglevel=error)
done

printf '%s' "$stamp" > "$home/stamp"
