#!/bin/sh
# Runs every fuzz target for FUZZ_SECONDS (60), over the corpus that is kept in fuzz/corpus. Needs
# cargo-fuzz (cargo install --locked cargo-fuzz) and a C++ compiler; a stable Rust will do.
#
# The corpus is seeds by name, and of what was found the few inputs that reach most of the rest. What
# a run finds goes to fuzz/found, and an input that breaks something to fuzz/artifacts:
# `cargo fuzz run TARGET FILE` plays it again, and its bug gets a test beside the code.
set -eu
cd "$(dirname "$0")/.."

if ! cargo fuzz --version >/dev/null 2>&1; then
    echo "cargo-fuzz is not installed; get it with: cargo install --locked cargo-fuzz" >&2
    exit 1
fi
# The sanitizer's flags are not stable yet; this lets a stable compiler take them, and a nightly one
# takes them anyway.
case $(rustc --version) in
*nightly*) ;;
*) export RUSTC_BOOTSTRAP=1 ;;
esac
cargo fuzz build
for target in $(cargo fuzz list); do
    echo "== $target"
    # What is found new goes to a folder of its own: the first folder is written to.
    mkdir -p "fuzz/found/$target"
    cargo fuzz run "$target" "fuzz/found/$target" "fuzz/corpus/$target" -- \
        -max_total_time="${FUZZ_SECONDS:-60}" -max_len=65536 -timeout=5 -rss_limit_mb=1024 -print_final_stats=1
done
