#!/usr/bin/env bash
# Installs the clients and servers that the modules interop and bench work with, or only the packages that are named:
# scripts/install-clients.sh [PACKAGE...]. It does nothing where they are there, starts no service, and exits 1 with the
# reason if one is missing in the end.
set -uo pipefail

# What proves that a package is there (a program, or a file by its path), and the package.
needed=(
	openssl=openssl
	curl=curl
	ocsptool=gnutls-bin
	gnutls-cli=gnutls-bin
	certutil=libnss3-tools
	ocspclnt=libnss3-tools
	vfychain=libnss3-tools
	java=default-jdk-headless
	javac=default-jdk-headless
	/usr/share/java/bcprov.jar=libbcprov-java
	/usr/share/java/bcpkix.jar=libbcpkix-java
	/usr/share/java/bcutil.jar=libbcutil-java
	pki=strongswan-pki
	/usr/lib/ipsec/plugins/libstrongswan-curl.so=libstrongswan-extra-plugins
	/usr/lib/ipsec/plugins/libstrongswan-openssl.so=libstrongswan-standard-plugins
	node=nodejs
	npm=npm
	nginx=nginx
	varnishd=varnish
	apache2=apache2
	haproxy=haproxy
	stunnel4=stunnel4
	caddy=caddy
	freeradius=freeradius
	eapol_test=eapoltest
	sssd=sssd-common
	/usr/libexec/sssd/p11_child=sssd-common
	wrk=wrk
)
if [ $# -gt 0 ]; then
	named=()
	for pair in "${needed[@]}"; do
		[[ " $* " != *" ${pair#*=} "* ]] || named+=("$pair")
	done
	needed=("${named[@]}")
fi

present() {
	case $1 in
	/*) [ -e "$1" ] ;;
	*) command -v "$1" >/dev/null || [ -x "/usr/sbin/$1" ] ;;
	esac
}

wanted=()
for pair in "${needed[@]}"; do
	package=${pair#*=}
	present "${pair%%=*}" || [[ " ${wanted[*]-} " == *" $package "* ]] || wanted+=("$package")
done
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
for pair in "${needed[@]}"; do
	present "${pair%%=*}" || { echo "${pair%%=*} of the package ${pair#*=} is still missing" >&2; failed=1; }
done
exit "$failed"
