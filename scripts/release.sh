#!/usr/bin/env bash
# Commits and tags a release of all published modules: scripts/release.sh VERSION. It pushes nothing.
set -euo pipefail
cd "$(dirname "$0")/.."
exec go run ./scripts/release "$@"
