#!/usr/bin/env bash
# Prints the path of a program of scripts/tools/go.mod, which it builds: scripts/tool.sh NAME.
cd "$(dirname "$0")/tools" && GOWORK=off go tool -n "$1"
