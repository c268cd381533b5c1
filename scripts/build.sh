#!/usr/bin/env bash
# Builds the Worker into build/, if a source changed since the last build.
# wrangler runs this as its [build] command; HEADWATER_SKIP_BUILD=1 keeps an existing build.
# With a Cargo feature as its argument, it builds that variant into build-<feature>/, for tests only.
set -euo pipefail
cd "$(dirname "$0")/.."

variant=${1:-}
out=build${variant:+-$variant}
say() { echo "[$out] $*"; }
sha() { if command -v sha256sum >/dev/null; then sha256sum "$@"; else shasum -a 256 "$@"; fi; }

if [ -n "${HEADWATER_SKIP_BUILD:-}" ] && [ -e "$out/index.js" ]; then exit 0; fi
if [ ! -e .toolchain/env ]; then say "not set up yet: run 'npm run setup' first" >&2; exit 1; fi
. .toolchain/env

settings=(--lib --release --target wasm32-unknown-unknown)
if [ -n "$variant" ]; then settings+=(--features "$variant"); fi
sources() {
  find Cargo.toml Cargo.lock node_modules/jose/package.json .cargo src core/Cargo.toml core/src scripts/build.sh scripts/bindgen/{Cargo.toml,Cargo.lock,src} -type f 2>/dev/null | LC_ALL=C sort
}
# A hash of the names and contents of the sources, the compiler, and the settings
stamp=$({ sources | while IFS= read -r file; do sha "$file"; done; rustc -vV
          echo "${settings[*]} ${RUSTFLAGS:-}"; } | sha)

if [ -e "$out/index.js" ] && [ "$(cat "$out/.stamp" 2>/dev/null)" = "$stamp" ]; then
  say "up to date"
  exit 0
fi
say "compiling the Worker to WebAssembly (the first time takes a few minutes)"
target=${CARGO_TARGET_DIR:-target}
cargo build "${settings[@]}" --target-dir "$target"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cargo run --release --locked --manifest-path scripts/bindgen/Cargo.toml --target-dir .toolchain/bindgen \
  --target "$(rustc -vV | sed -n 's/^host: //p')" "$target/wasm32-unknown-unknown/release/headwater.wasm" "$work"
# A plain import of a .wasm file already gives the compiled module. The runtime does not support `import source` yet.
sed -i.bak 's/^import source /import /' "$work/index.js"
rm -rf "$out" && mkdir "$out"
wasm-opt -O --enable-exception-handling "$work/index_bg.wasm" -o "$out/index_bg.wasm"
esbuild src/entry.js --bundle --minify --format=esm --outfile="$out/index.js" --log-level=warning \
  --alias:wasm-module="$work/index.js" --alias:signature=./src/signature/check.ts --external:cloudflare:workers --external:*.wasm
echo "$stamp" >"$out/.stamp"
say "done in $SECONDS s: $(($(wc -c <"$out/index_bg.wasm") / 1024)) KiB of wasm"
