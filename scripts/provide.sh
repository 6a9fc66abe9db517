#!/bin/sh
# Provides what the tests need beyond Python: a Redis server and Chromium. Installs them where that is possible
# without a question; otherwise says what to install. On CI a missing one is a failure.
set -eu

have() { command -v "$1" >/dev/null 2>&1; }
have_browser() { have chromium || have chromium-browser || have google-chrome; }

missing=""
have redis-server || missing="$missing redis-server"
have_browser || missing="$missing chromium"
[ -z "$missing" ] && exit 0

if have apt-get && [ "$(id -u)" = 0 ]; then
    apt-get update -qq || true
    # shellcheck disable=SC2086 # one argument per package
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $missing >/dev/null || true
elif have apt-get && have sudo && sudo -n true 2>/dev/null; then
    sudo apt-get update -qq || true
    # shellcheck disable=SC2086
    sudo DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $missing >/dev/null || true
fi

still=""
have redis-server || still="$still redis-server"
have_browser || still="$still chromium"
[ -z "$still" ] && exit 0
echo "The tests need:$still. Install with your package manager, for example" >&2
echo "  Debian, Ubuntu:  sudo apt-get install$still" >&2
echo "  macOS:           brew install redis && brew install --cask chromium" >&2
[ -n "${CI:-}" ] && exit 1
echo "Going on without; the tests that need them are skipped." >&2
