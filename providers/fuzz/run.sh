#!/bin/sh
# Fuzzes every target for the given number of seconds (30), or only the targets named behind it:
#
#     providers/fuzz/run.sh 60 byte_fidelity
#
# FUZZ_SEED says where a run starts; without it, every run starts elsewhere. FUZZ_RUNS is how many inputs each target is given
# at most: with both, and without a corpus of earlier runs, one build is given the same ones every time, where addresses need not be
# random. A build in another folder is another one.
#
# Works with the stable toolchain and a C++ compiler: the coverage flags are those of `cargo fuzz`, without a sanitizer,
# because there is no unsafe code to watch. Stops at the first finding, which lands in providers/fuzz/artifacts.
set -eu
cd "$(dirname "$0")"
seconds=${1:-30}
[ $# -eq 0 ] || shift
[ $# -gt 0 ] || set -- $(sed -n 's/^name = "\([a-z_]*\)"$/\1/p' Cargo.toml)

# With a target triple the flags reach the code under test, but neither build scripts nor macros.
host=$(rustc -vV | sed -n 's/^host: //p')
target_dir=${CARGO_TARGET_DIR:-$PWD/target}
export RUSTFLAGS="--cfg fuzzing -Ccodegen-units=1 -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares"
fixed=
if [ -n "${FUZZ_SEED:-}" ]; then
    if setarch -R true 2>/dev/null; then fixed="setarch -R"; else echo "addresses stay random: this run is like no other" >&2; fi
fi
cargo build --release --target "$host" --target-dir "$target_dir"

for fuzz_target; do
    mkdir -p "corpus/$fuzz_target" "artifacts/$fuzz_target"
    case $fuzz_target in
    codec_* | operations) dict=codec.dict ;;
    *) dict=fuzz.dict ;;
    esac
    echo "== $fuzz_target, ${FUZZ_RUNS:+$FUZZ_RUNS inputs or }$seconds s"
    # In an order that is no file system's.
    seeds=$(LC_ALL=C ls -d "seeds/$fuzz_target"/* | paste -sd, -)
    $fixed "$target_dir/$host/release/$fuzz_target" -max_total_time="$seconds" -dict="$dict" -timeout=5 -rss_limit_mb=512 \
        -verbosity=0 -seed="${FUZZ_SEED:-0}" -runs="${FUZZ_RUNS:--1}" -reload=0 -print_final_stats=1 \
        -artifact_prefix="artifacts/$fuzz_target/" -seed_inputs="$seeds" "corpus/$fuzz_target"
done
