#!/bin/sh
# Builds the loadable extension and puts it beside this file as coord.so. Needs cargo, and `cc` to link: without the command there
# is no C to compile.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/.."
cargo build --release --locked --lib --no-default-features
cp "${CARGO_TARGET_DIR:-target}/release/libcoord.so" "$here/coord.so.new"
mv "$here/coord.so.new" "$here/coord.so" # not over a file that a running program has mapped
echo "$here/coord.so"
