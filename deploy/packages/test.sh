#!/usr/bin/env bash
# Installs, upgrades and removes both packages in a fresh Debian that runs its own systemd,
# and evaluates the alerts with promtool. "make packages-test" builds what this needs.
set -euo pipefail

work=$(mktemp -d)
root=$work/debian
trap 'rm -rf "$work"' EXIT
config=/etc/sallyport/sallyport.yaml
data=/var/lib/sallyport

# inside runs a command as root in the fresh system.
inside() {
	nsenter --target "$init" --mount --uts --ipc --net --pid --cgroup --root --wd -- \
		env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@"
}

# expect fails the test unless a command inside prints the wanted text.
expect() {
	local want=$1 got
	shift
	got=$(inside "$@" 2>&1 || true)
	[ "$got" = "$want" ] || { printf '%s\nprints: %s\nwanted: %s\n' "$*" "$got" "$want"; exit 1; }
}

expect_running() { expect active systemctl is-active sallyport; }
main_pid() { inside systemctl show --property MainPID --value sallyport; }

# wait_until_restarted waits until the server has another main process than the given one, and has
# reported that it runs: an upgrade doesn't wait for that.
wait_until_restarted() {
	for _ in $(seq 50); do
		if [ "$(main_pid)" != "$1" ] && [ "$(inside systemctl is-active sallyport || true)" = active ]; then
			return
		fi
		sleep 0.2
	done
}

# wait_until_ready waits until /readyz reports that the key ring is fine.
wait_until_ready() {
	for _ in $(seq 50); do
		if nsenter --target "$init" --net curl -sf http://127.0.0.1:9091/readyz | grep -q '^key_ring: ok'; then
			return
		fi
		sleep 0.2
	done
	inside journalctl --unit sallyport --no-pager
	exit 1
}

# test_format installs, upgrades and removes the package of a format. It gets the command
# that installs and upgrades, and the one that removes.
test_format() {
	local format=$1 install=$2 remove=$3 output before
	echo "$format: installed, not started"
	output=$(inside sh -c "$install /packages/old.$format")
	grep -q 'systemctl enable --now sallyport' <<< "$output"
	expect inactive systemctl is-active sallyport
	expect disabled systemctl is-enabled sallyport
	expect "640 root:sallyport" stat -c '%a %U:%G' $config
	expect "700 sallyport:sallyport" stat -c '%a %U:%G' $data
	expect "755 root:root" stat -c '%a %U:%G' /usr/bin/sallyport
	expect "" find /usr/share/doc/sallyport ! -perm -o+r
	expect "" systemd-analyze verify --man=no sallyport.service
	# shellcheck disable=SC2016 # the inner bash expands it
	inside bash -c 'source /usr/share/bash-completion/completions/sallyport; COMP_WORDS=(sallyport acc) COMP_CWORD=1; _sallyport sallyport acc; [ "${COMPREPLY[*]}" = account ]'
	inside sh -c 'zcat /usr/share/man/man1/sallyport.1.gz | grep -q "sallyport account add bob"'

	echo "$format: started by the operator"
	inside sed -i 's/^site_name: .*/site_name: Edited/' $config
	inside systemctl enable --quiet --now sallyport
	wait_until_ready
	expect "600 sallyport:sallyport" stat -c '%a %U:%G' $data/keyring
	inside runuser -u sallyport -- sallyport group add "$format"
	expect 0 sh -c "systemctl reload sallyport; echo \$?"
	before=$(main_pid)
	ring=$(inside sha256sum $data/keyring)

	echo "$format: upgraded"
	output=$(inside sh -c "$install /packages/new.$format" 2>&1)
	if grep -q 'enable --now' <<< "$output"; then echo "the upgrade prints the advice of a first installation"; exit 1; fi
	wait_until_restarted "$before"
	expect_running
	wait_until_ready
	[ "$(main_pid)" != "$before" ] || { echo "the old version still runs"; exit 1; }
	expect "site_name: Edited" grep ^site_name: $config
	expect "# The next version says more." sh -c "tail -qn 1 $config.*"
	expect "640 root:sallyport" stat -c '%a %U:%G' $config
	expect "$ring" sha256sum $data/keyring

	echo "$format: removed"
	output=$(inside sh -c "$remove" 2>&1)
	grep -q "rm -r $data" <<< "$output" || { echo "$output"; exit 1; }
	expect inactive systemctl is-active sallyport
	# rpm keeps what the operator wrote, as sallyport.yaml.rpmsave.
	expect "" find /usr /etc -name '*sallyport*' ! -path '/etc/sallyport' ! -name '*.rpm*'
	expect "$ring" sha256sum $data/keyring
}

# Prometheus is unpacked only, since installing Debian's package would start a server.
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
# Kill the system's first process, which ignores other signals. All others end with it.
trap 'kill -KILL $init $container; wait $container 2>&- || true; rm -rf "$work"' EXIT
for _ in $(seq 100); do
	init=$(pgrep --parent $container --exact systemd) && [ "$(inside systemctl is-system-running 2>&1)" = running ] && break
	sleep 0.2
done
expect running systemctl is-system-running

test_format deb 'dpkg --force-confdef --install' 'dpkg --remove sallyport && dpkg --purge sallyport'
test_format rpm 'rpm --nodeps --upgrade' 'rpm --nodeps --erase sallyport'
