#!/usr/bin/env bash
# Installs, upgrades and removes both packages in a fresh Debian that runs its own
# systemd, and has Prometheus' own tool evaluate the alerts. make packages-test
# builds what it needs.
set -euo pipefail

work=$(mktemp -d)
root=$work/debian
trap 'rm -rf "$work"' EXIT
config=/etc/sallyport/sallyport.yaml
data=/var/lib/sallyport

# inside runs a command in the fresh system, as its root.
inside() {
	nsenter --target "$init" --mount --uts --ipc --net --pid --cgroup --root --wd -- \
		env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@"
}

# so fails the test unless a command inside prints what is wanted.
so() {
	local want=$1 got
	shift
	got=$(inside "$@" 2>&1 || true)
	[ "$got" = "$want" ] || { printf '%s\nprints: %s\nwanted: %s\n' "$*" "$got" "$want"; exit 1; }
}

running() { so active systemctl is-active sallyport; }
process() { inside systemctl show --property MainPID --value sallyport; }

# ready waits until the portal answers that all is well.
ready() {
	for _ in $(seq 50); do
		if nsenter --target "$init" --net curl -sf http://127.0.0.1:9091/readyz | grep -q '^key_ring: ok'; then
			return
		fi
		sleep 0.2
	done
	inside journalctl --unit sallyport --no-pager
	exit 1
}

# walk takes a format through its life, by the commands that install and upgrade,
# and that remove it.
walk() {
	local format=$1 install=$2 remove=$3 said before
	echo "$format: installed, not started"
	said=$(inside sh -c "$install /packages/old.$format")
	grep -q 'systemctl enable --now sallyport' <<< "$said"
	so inactive systemctl is-active sallyport
	so disabled systemctl is-enabled sallyport
	so "640 root:sallyport" stat -c '%a %U:%G' $config
	so "700 sallyport:sallyport" stat -c '%a %U:%G' $data
	so "755 root:root" stat -c '%a %U:%G' /usr/bin/sallyport
	so "" find /usr/share/doc/sallyport ! -perm -o+r
	so "" systemd-analyze verify --man=no sallyport.service
	# shellcheck disable=SC2016 # the inner bash expands it
	inside bash -c 'source /usr/share/bash-completion/completions/sallyport; COMP_WORDS=(sallyport acc) COMP_CWORD=1; _sallyport sallyport acc; [ "${COMPREPLY[*]}" = account ]'
	inside sh -c 'zcat /usr/share/man/man1/sallyport.1.gz | grep -q "sallyport account add bob"'

	echo "$format: started by the operator"
	inside sed -i 's/^site_name: .*/site_name: Edited/' $config
	inside systemctl enable --quiet --now sallyport
	ready
	so "600 sallyport:sallyport" stat -c '%a %U:%G' $data/keyring
	inside runuser -u sallyport -- sallyport group add "$format"
	so 0 sh -c "systemctl reload sallyport; echo \$?"
	before=$(process)
	ring=$(inside sha256sum $data/keyring)

	echo "$format: upgraded"
	said=$(inside sh -c "$install /packages/new.$format" 2>&1)
	if grep -q 'enable --now' <<< "$said"; then echo "the upgrade says what a first installation does"; exit 1; fi
	running
	ready
	[ "$(process)" != "$before" ] || { echo "the old version still runs"; exit 1; }
	so "site_name: Edited" grep ^site_name: $config
	so "# The next version says more." sh -c "tail -qn 1 $config.*"
	so "640 root:sallyport" stat -c '%a %U:%G' $config
	so "$ring" sha256sum $data/keyring

	echo "$format: removed"
	said=$(inside sh -c "$remove" 2>&1)
	grep -q "rm -r $data" <<< "$said" || { echo "$said"; exit 1; }
	so inactive systemctl is-active sallyport
	# rpm keeps what the operator wrote, as sallyport.yaml.rpmsave.
	so "" find /usr /etc -name '*sallyport*' ! -path '/etc/sallyport' ! -name '*.rpm*'
	so "$ring" sha256sum $data/keyring
}

# Not installed: Debian's package would start a server.
(cd "$work" && apt-get download -qq prometheus && dpkg-deb --extract prometheus_*.deb prometheus) 2>&1 | grep -v unsandboxed || true
"$work/prometheus/usr/bin/promtool" test rules test/operating/testdata/alerts.yaml

# shellcheck source=/dev/null
release=$(. /etc/os-release && echo "$VERSION_CODENAME")
mmdebstrap --quiet --variant=minbase --include=systemd,systemd-sysv,rpm "$release" "$root"
mkdir "$root/packages"
for format in deb rpm; do
	cp bin/*."$format" "$root/packages/old.$format"
	cp bin/package/next/*."$format" "$root/packages/new.$format"
done
systemd-nspawn --quiet --directory "$root" --boot --register=no --keep-unit --private-network < /dev/null > "$work/console" 2>&1 &
container=$!
init=
# Killed, since the system's first process takes no orders; all others go with it.
trap 'kill -KILL $init $container; wait $container 2>&- || true; rm -rf "$work"' EXIT
for _ in $(seq 100); do
	init=$(pgrep --parent $container --exact systemd) && [ "$(inside systemctl is-system-running 2>&1)" = running ] && break
	sleep 0.2
done
so running systemctl is-system-running

walk deb 'dpkg --force-confdef --install' 'dpkg --remove sallyport && dpkg --purge sallyport'
walk rpm 'rpm --nodeps --upgrade' 'rpm --nodeps --erase sallyport'
