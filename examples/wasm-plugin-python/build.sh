#!/bin/sh
# Makes a component of app.py: orders.wasm, or the file that is named.
set -eu
out=$(realpath -m "${1:-orders.wasm}")
cd "$(dirname "$0")"
componentize-py -q -d ../../plugins/wit -w plugin componentize app -o "$out"
