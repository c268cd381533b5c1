#!/usr/bin/env bash
# Builds Rust's standard library for WebAssembly with Debian's compiler, and puts the linker where rustc looks for it.
# scripts/setup.sh calls this on its Debian route only, because rustup delivers both.
#
#   --is-current    builds nothing; succeeds if the linker and a library for this compiler are installed
#
# Debian has no std for wasm32-unknown-unknown. Its source package (rust-web-src) has everything to build one offline.
set -euo pipefail

RUSTC=/usr/bin/rustc
TARGET=wasm32-unknown-unknown
SOURCE=/usr/lib/rustlib/src/rust/library
INSTALLED=/usr/lib/rustlib/$TARGET
RECIPE=1 # increase it when the build below changes
version=$("$RUSTC" -vV)
stamp=$(sha256sum <<<"$version" | cut -c 1-16)-$RECIPE
# rustc looks for the linker under this name beside its own libraries. Debian packages it separately, per LLVM version.
linker=/usr/lib/rustlib/$(sed -n 's/^host: //p' <<<"$version")/bin/rust-lld

has_linker() { [ -e "$linker" ]; }
has_std() { [ "$(cat "$INSTALLED/.stamp" 2>/dev/null)" = "$stamp" ]; }
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi; }

link_linker() {
  local llvm; llvm=$(sed -n 's/^LLVM version: \([0-9]*\).*/\1/p' <<<"$version")
  as_root mkdir -p "${linker%/*}"
  as_root ln -sfn "/usr/bin/lld-$llvm" "$linker"
}

# Builds an empty crate, which makes cargo build its dependency std.
build_std() {
  mkdir "$work/src"
  : >"$work/src/lib.rs"
  cat >"$work/Cargo.toml" <<'END'
[package]
name = "std-builder"
version = "0.0.0"
edition = "2021"

[profile.release]
codegen-units = 1
END
  cd "$work"
  # Crates with LTO need the bitcode. The remapping keeps paths of this machine out of panic messages.
  local flags="-Cembed-bitcode=yes --remap-path-prefix=$(readlink -f "$SOURCE/..")=/rustc --remap-path-prefix=${SOURCE%/library}=/rustc"
  env -u RUSTUP_TOOLCHAIN -u CARGO_TARGET_DIR RUSTC="$RUSTC" RUSTC_BOOTSTRAP=1 RUSTFLAGS="$flags" \
    /usr/bin/cargo build --offline --release --target $TARGET -Zbuild-std=std,panic_abort,panic_unwind,test,proc_macro \
    --config 'source.crates-io.replace-with="vendored"' --config "source.vendored.directory=\"$SOURCE/vendor\""
}

install_std() {
  local built=$work/target/$TARGET/release/deps
  rm -f "$built"/libstd_builder*.rlib
  as_root rm -rf "$INSTALLED/lib"
  as_root mkdir -p "$INSTALLED/lib"
  as_root cp "$built"/*.rlib "$INSTALLED/lib/"
  as_root tee "$INSTALLED/.stamp" <<<"$stamp" >/dev/null
}

if has_linker && has_std; then exit 0; fi
if [ "${1:-}" = --is-current ]; then exit 1; fi
has_linker || link_linker
if has_std; then exit 0; fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
build_std
install_std
