#!/usr/bin/env bash
# Installs the servers that the tests start for themselves: PostgreSQL, MariaDB and Redis. It does nothing
# where they are there, starts no service, and exits 1 with the reason if one is missing in the end.
set -uo pipefail

has_postgres() { command -v initdb >/dev/null || compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null; }
has_mariadb() { command -v mariadbd >/dev/null || [ -x /usr/sbin/mariadbd ]; }
has_redis() { command -v redis-server >/dev/null; }

wanted=()
has_postgres || wanted+=(postgresql)
has_mariadb || wanted+=(mariadb-server)
has_redis || wanted+=(redis-server)
[ ${#wanted[@]} -gt 0 ] || exit 0

if ! command -v apt-get >/dev/null; then
	echo "missing: ${wanted[*]}; there is no apt-get here to install them with" >&2
	exit 1
fi
if [ "$(id -u)" != 0 ]; then
	echo "missing: ${wanted[*]}; run as root: apt-get install ${wanted[*]}" >&2
	exit 1
fi

# Debian's packages start their service when installed, unless this file says no. One that is there stays.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
	printf '#!/bin/sh\nexit 101\n' >"$policy"
	chmod 755 "$policy"
	trap 'rm -f "$policy"' EXIT
fi
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
if ! apt-get update -q >"$log" 2>&1; then
	echo "apt-get update failed; going on with the lists that are there:" >&2
	tail -5 "$log" >&2
fi
failed=0
for package in "${wanted[@]}"; do
	echo "installing $package"
	if ! apt-get install -qy --no-install-recommends "$package" >"$log" 2>&1; then
		echo "could not install $package:" >&2
		tail -5 "$log" >&2
		failed=1
	fi
done
rm -f "$log"
has_postgres || { echo "PostgreSQL is still missing: no initdb in PATH or /usr/lib/postgresql/*/bin" >&2; failed=1; }
has_mariadb || { echo "MariaDB is still missing: no mariadbd in PATH or /usr/sbin" >&2; failed=1; }
has_redis || { echo "Redis is still missing: no redis-server in PATH" >&2; failed=1; }
exit "$failed"
