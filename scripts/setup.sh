#!/usr/bin/env bash
# Installs the tools to build, run and test Headwater. Run it again at any time: it installs only what is missing.
# With --browser, it also installs Chromium for the browser tests.
#
#   WASM_TOOLCHAIN=auto    (default) rustup's wasm target, or Debian's compiler where rustup can't fetch the target
#   WASM_TOOLCHAIN=rustup  rustup only
#   WASM_TOOLCHAIN=debian  Debian's rustc, with a wasm std built from Debian's own source package (debian-wasm-std.sh)
#
# Tools go to .toolchain/, and .toolchain/env sets up a shell for them. Everything comes from package
# registries: crates.io, npm, rustup or Debian.
set -euo pipefail
cd "$(dirname "$0")/.."
PROJECT=$PWD
PREFIX=$PROJECT/.toolchain
WASM_TOOLCHAIN=${WASM_TOOLCHAIN:-auto}
TARGET=wasm32-unknown-unknown
MIN_RUST=91 # 1.91, which the worker crate requires
MIN_NODE=20 # enough to run npm, which then installs the Node that runs everything else
UPSTREAM=0.1.5
export DEBIAN_FRONTEND=noninteractive

main() {
  mkdir -p "$PREFIX/logs"
  trap 'stop_heartbeat; wait' EXIT
  check_node
  choose_rust
  install_npm_packages & local npm=$! # mostly waits for the network
  install_upstream
  wait "$npm" || exit 1
  if [ "${1:-}" = --browser ]; then install_browser; fi
  write_env
  say "ready: $(rustc -V | cut -d' ' -f1,2) ($ROUTE), node $(node_modules/.bin/node -v), $SECONDS s"
}

# --- progress ------------------------------------------------------------------------------------------------------

say() { printf '[setup] %s\n' "$*"; }
die() { say "ERROR: $*" >&2; exit 1; }

# step <label> <command…>: runs the command with its output in a log. Shows progress every 15 s, and the log's end on a failure
step() {
  local label=$1 started=$SECONDS status=0; shift
  local log; log=$PREFIX/logs/$(tr -cs 'a-zA-Z0-9.' '-' <<<"$label").log
  say "$label …"
  heartbeat "$label" "$log" & HEARTBEAT=$!
  "$@" >"$log" 2>&1 </dev/null || status=$?
  stop_heartbeat
  if [ $status != 0 ]; then
    tail -n 20 "$log" >&2
    say "$label: failed after $((SECONDS - started)) s" >&2
    return $status
  fi
  say "$label: $((SECONDS - started)) s"
}
heartbeat() {
  local started=$SECONDS
  # The sleep must neither keep this script's output open nor outlive the script
  while sleep 15 >/dev/null 2>&1 </dev/null && kill -0 $$ 2>/dev/null; do
    say "$1 … $((SECONDS - started)) s: $(tail -n 1 "$2" | tr -d '\r' | cut -c 1-80)"
  done
}
HEARTBEAT=
stop_heartbeat() {
  [ -z "$HEARTBEAT" ] || { kill "$HEARTBEAT"; wait "$HEARTBEAT"; } 2>/dev/null || true
  HEARTBEAT=
}

# --- Node ----------------------------------------------------------------------------------------------------------

check_node() {
  command -v node >/dev/null && command -v npm >/dev/null \
    || die "Node.js and npm are missing. Install Node.js $MIN_NODE or newer (https://nodejs.org), then run this again."
  local version; version=$(node -p 'process.versions.node')
  [ "${version%%.*}" -ge $MIN_NODE ] \
    || die "Node.js $version is too old. Install Node.js $MIN_NODE or newer (https://nodejs.org), then run this again."
}

# --- Rust with a wasm target ---------------------------------------------------------------------------------------

ROUTE=   # where Rust comes from: rustup or debian
CHANNEL= # the value for RUSTUP_TOOLCHAIN; empty: leave it unset
choose_rust() {
  local wanted=$WASM_TOOLCHAIN
  # Go straight to the route that worked last time
  if [ "$wanted" = auto ] && grep -q '^# route: debian$' "$PREFIX/env" 2>/dev/null; then wanted=debian; fi
  case $wanted in
    rustup) via_rustup || die "found no Rust 1.$MIN_RUST with the target $TARGET. $RUST_HELP" ;;
    debian) via_debian || die "Debian's packages have no Rust for $TARGET. $RUST_HELP" ;;
    auto) via_rustup || via_debian || die "found no Rust 1.$MIN_RUST with the target $TARGET. $RUST_HELP" ;;
    *) die "WASM_TOOLCHAIN is '$WASM_TOOLCHAIN'; it must be auto, rustup or debian" ;;
  esac
}
RUST_HELP="Install Rust from https://rustup.rs (or run 'rustup update stable' if you have it), then run this again."

has_wasm_std() { compgen -G "$("$1" --print target-libdir --target $TARGET 2>/dev/null)/libstd-*.rlib" >/dev/null; }
minor_of() { "$1" -V 2>/dev/null | sed -n 's/^rustc 1\.\([0-9]*\).*/\1/p'; }
new_enough() { local minor; minor=$(minor_of "$1"); [ "${minor:-0}" -ge $MIN_RUST ]; }

# Accepts any Rust on the PATH that has the target. rustup only adds the target.
via_rustup() {
  command -v cargo >/dev/null && command -v rustc >/dev/null || { say "no cargo on the PATH"; return 1; }
  new_enough rustc || { say "$(rustc -V) is older than 1.$MIN_RUST"; return 1; }
  if ! has_wasm_std rustc; then
    command -v rustup >/dev/null || { say "$(rustc -V) has no $TARGET, and there is no rustup to add it"; return 1; }
    step "rustup target add $TARGET" with_timeout 120 rustup target add $TARGET || return 1
    has_wasm_std rustc || return 1
  fi
  # The C compiler links every Rust program, and compiles the parts that are in C
  if ! command -v cc >/dev/null && ! apt_install gcc libc6-dev; then
    die "a C compiler is missing; on Fedora: dnf install gcc, on macOS: xcode-select --install"
  fi
  ROUTE=rustup
}
with_timeout() { if command -v timeout >/dev/null; then timeout "$@"; else shift; "$@"; fi; }

via_debian() {
  command -v apt-get >/dev/null || { say "this system has no apt-get"; return 1; }
  apt_install rustc-web cargo-web rust-web-src rust-web-clippy rustfmt-web gcc libc6-dev || return 1
  new_enough /usr/bin/rustc || { say "Debian's $(/usr/bin/rustc -V) is older than 1.$MIN_RUST"; return 1; }
  apt_install "lld-$(/usr/bin/rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')" || return 1 # links WebAssembly
  scripts/debian-wasm-std.sh --is-current || step "building std for $TARGET" scripts/debian-wasm-std.sh || return 1
  if command -v rustup >/dev/null; then
    [ "$(readlink "$(rustup show home)/toolchains/debian" 2>/dev/null)" = /usr ] || rustup toolchain link debian /usr
    CHANNEL=debian
    export RUSTUP_TOOLCHAIN=$CHANNEL
  fi
  ROUTE=debian
}

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi; }
apt_install() { # installs only missing packages
  command -v apt-get >/dev/null || return 1
  local package missing=()
  for package; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  if ! as_root true 2>/dev/null; then
    say "this user is not root, and sudo asks for a password. Please run: sudo apt-get install ${missing[*]}" >&2
    return 1
  fi
  if ! apt-cache policy "${missing[0]}" | grep -q 'Candidate: [0-9]'; then step "apt-get update" as_root apt-get update -q || return 1; fi
  step "apt-get install ${missing[*]}" as_root apt-get install -y -q --no-install-recommends "${missing[@]}"
}

# --- the upstream --------------------------------------------------------------------------------------------------

install_upstream() {
  if grep -q "^\"durable-streams $UPSTREAM " "$PREFIX/.crates.toml" 2>/dev/null; then return; fi # cargo's list of installed programs
  step "cargo install durable-streams $UPSTREAM" host_cargo install --locked --force --root "$PREFIX" "durable-streams@$UPSTREAM" \
    || die "could not install durable-streams $UPSTREAM"
  rm -rf "$PREFIX/target"
}
host_cargo() { # runs outside the project, so that no toolchain file in it applies
  local vars=(CARGO_TARGET_DIR="$PREFIX/target")
  # rustup's own compiler, if there is one, is 1.5 times as fast as Debian's
  if [ -n "$CHANNEL" ] && (cd / && unset RUSTUP_TOOLCHAIN && new_enough rustc); then vars=(-u RUSTUP_TOOLCHAIN "${vars[@]}"); fi
  (cd / && env "${vars[@]}" cargo "$@")
}

# --- packages from npm ---------------------------------------------------------------------------------------------

install_npm_packages() {
  if node scripts/lib/npm-is-current.mjs; then return; fi
  step "npm ci" npm ci || die "npm ci failed"
}

# --- a browser -----------------------------------------------------------------------------------------------------

# Installs Debian's Chromium, or else Playwright's (tests/browser/device.ts)
install_browser() {
  [ ! -x /usr/bin/chromium ] || return 0
  if [ $ROUTE = debian ] && apt_install chromium; then return; fi
  step "playwright install chromium" node_modules/.bin/node node_modules/playwright-core/cli.js install --only-shell chromium \
    || die "found no Chromium for the browser tests. Install Debian's (apt-get install chromium), or: npx playwright-core install --with-deps chromium"
}

# --- the environment for builds ------------------------------------------------------------------------------------

write_env() {
  cat >"$PREFIX/env.new" <<END
# Written by scripts/setup.sh. A shell sources this file.
# route: $ROUTE
${CHANNEL:+export RUSTUP_TOOLCHAIN=$CHANNEL}
export WRANGLER_SEND_METRICS=false
export PATH="$PROJECT/node_modules/.bin:$PREFIX/bin:\$PATH"
END
  mv "$PREFIX/env.new" "$PREFIX/env"
}

main "$@"
