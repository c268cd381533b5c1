#!/usr/bin/env bash
# Builds the Worker into build/, if anything it is made of changed since the last time.
# wrangler runs this as its [build] command; HEADWATER_SKIP_BUILD=1 keeps the build there is.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { echo "[build] $*"; }
sha() { if command -v sha256sum >/dev/null; then sha256sum "$@"; else shasum -a 256 "$@"; fi; }

if [ -n "${HEADWATER_SKIP_BUILD:-}" ] && [ -e build/index.js ]; then exit 0; fi
if [ ! -e .toolchain/env ]; then say "not set up yet: run 'npm run setup' first" >&2; exit 1; fi
. .toolchain/env

settings=(--release)
sources() { find Cargo.toml Cargo.lock .cargo src scripts/build.sh -type f 2>/dev/null | LC_ALL=C sort; }
# The sources' names and contents, the compiler and the settings
stamp=$({ sources | while IFS= read -r file; do sha "$file"; done; rustc -vV; worker-build --version
          echo "${settings[*]} ${RUSTFLAGS:-}"; } | sha)

if [ -e build/index.js ] && [ "$(cat build/.stamp 2>/dev/null)" = "$stamp" ]; then
  say "up to date"
  exit 0
fi
say "compiling the Worker to WebAssembly (the first time takes a few minutes)"
worker-build "${settings[@]}"
echo "$stamp" >build/.stamp
say "done in $SECONDS s: $(($(wc -c <build/index_bg.wasm) / 1024)) KiB of wasm"
