#!/usr/bin/env bash
# Installs with apt-get what tests and measurements work with: scripts/install.sh [-list] NAME...
# A name is a group below, a package, or all. It does nothing for what is there, starts no service,
# and exits 1 with the reason if something is missing in the end. With -list it prints the packages
# that are missing.
set -uo pipefail

# For each group: what proves that a package is there, a program or a file, and the package.
build="openssl=openssl cc=gcc libc=libc6-dev"
databases="/usr/lib/postgresql/*/bin/initdb=postgresql mariadbd=mariadb-server redis-server=redis-server"
browser="chromium=chromium"
model="spin=spin"
clients="openssl=openssl curl=curl ocsptool=gnutls-bin gnutls-cli=gnutls-bin
	certutil=libnss3-tools ocspclnt=libnss3-tools vfychain=libnss3-tools
	java=default-jdk-headless javac=default-jdk-headless /usr/share/java/bcprov.jar=libbcprov-java
	/usr/share/java/bcpkix.jar=libbcpkix-java /usr/share/java/bcutil.jar=libbcutil-java
	pki=strongswan-pki /usr/lib/ipsec/plugins/libstrongswan-curl.so=libstrongswan-extra-plugins
	/usr/lib/ipsec/plugins/libstrongswan-openssl.so=libstrongswan-standard-plugins
	node=nodejs npm=npm nginx=nginx varnishd=varnish apache2=apache2 haproxy=haproxy
	stunnel4=stunnel4 caddy=caddy freeradius=freeradius eapol_test=eapoltest
	sssd=sssd-common /usr/libexec/sssd/p11_child=sssd-common"
hosts="/usr/lib/postgresql/*/bin/initdb=postgresql mariadbd=mariadb-server openssl=openssl
	/usr/lib/python3/dist-packages/kmip=python3-pykmip systemd-analyze=systemd"
measuring="wrk=wrk nginx=nginx openssl=openssl"
all="$build $databases $browser $model $clients $hosts wrk=wrk"

# present reports whether a program or file is there. Debian's servers are not in everyone's PATH.
present() {
	case $1 in
	initdb | */initdb) command -v initdb >/dev/null || compgen -G "$1" >/dev/null ;;
	/*) [ -e "$1" ] ;;
	libc) [ "$(uname)" != Linux ] || [ -e /usr/include/stdlib.h ] ;;
	cc) command -v "$(go env CC)" >/dev/null ;;
	chromium)
		command -v chromium >/dev/null || command -v chromium-browser >/dev/null ||
			command -v google-chrome >/dev/null
		;;
	*) command -v "$1" >/dev/null || [ -x "/usr/sbin/$1" ] ;;
	esac
}

# missing prints the packages of which something is missing.
missing() {
	local pair
	for pair in $needed; do
		present "${pair%%=*}" || echo "${pair#*=}"
	done | awk '!seen[$0]++'
}

list=
[ "${1-}" != -list ] || { list=1; shift; }
[ $# -gt 0 ] || { echo "usage: scripts/install.sh [-list] NAME..." >&2; exit 2; }
needed=
set -f
for name; do
	case $name in
	build | databases | browser | model | clients | hosts | measuring | all) needed+=" ${!name}" ;;
	*)
		found=
		for pair in $all; do [ "${pair#*=}" != "$name" ] || found=" $pair" needed+=" $pair"; done
		[ -n "$found" ] || { echo "scripts/install.sh knows no package $name" >&2; exit 2; }
		;;
	esac
done
mapfile -t wanted < <(missing)
[ -z "$list" ] || { echo "${wanted[*]}"; exit 0; }
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
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if [ ! -e "$policy" ]; then
	printf '#!/bin/sh\nexit 101\n' >"$policy"
	chmod 755 "$policy"
	trap 'rm -f "$log" "$policy"' EXIT
fi
export DEBIAN_FRONTEND=noninteractive
if ! apt-get update -q >"$log" 2>&1; then
	echo "apt-get update failed; going on with the lists that are there:" >&2
	tail -5 "$log" >&2
fi
for package in "${wanted[@]}"; do
	echo "installing $package"
	if ! apt-get install -qy --no-install-recommends "$package" >"$log" 2>&1; then
		echo "could not install $package:" >&2
		tail -5 "$log" >&2
	fi
done
mapfile -t wanted < <(missing)
[ ${#wanted[@]} -eq 0 ] || { echo "still missing: ${wanted[*]}" >&2; exit 1; }
