#!/bin/sh
# Runs after an installation or upgrade. dpkg passes "configure" and the version that was
# installed before; rpm passes the number of versions that are installed now.
set -e

case "$1:$2" in
configure: | 1:) first=yes ;;
configure:* | 2:) first= ;;
*) exit 0 ;; # dpkg undoes a failed change
esac

if ! getent passwd sallyport >/dev/null; then
	useradd --system --user-group --no-create-home --home-dir /var/lib/sallyport \
		--shell /usr/sbin/nologin --comment Sallyport sallyport
fi
# Leave the file as it is if the group may read it already, or if the operator changed its
# owner.
if [ "$(stat -c %U:%G /etc/sallyport/sallyport.yaml 2>&-)" = root:root ]; then
	chgrp sallyport /etc/sallyport/sallyport.yaml
fi
# The unit would create it too, but "sallyport restore" may run before the first start.
if [ ! -e /var/lib/sallyport ]; then
	install -d -m 0700 -o sallyport -g sallyport /var/lib/sallyport
fi

if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
	# A running server restarts with the new version. If that fails, the package stays
	# installed. Don't wait: the start may migrate a large database. A server that stopped
	# because it was too old for the database has failed, so it needs a start.
	verb=try-restart
	if systemctl --quiet is-failed sallyport.service; then
		verb=start
	fi
	systemctl --no-block "$verb" sallyport.service || true
fi

if [ -n "$first" ]; then
	cat <<'END'
Sallyport is installed, but not started: it can't know its address. Write
public_url into /etc/sallyport/sallyport.yaml, then:
  systemctl enable --now sallyport
  journalctl --unit sallyport      # has the link that creates the first account
Step by step: /usr/share/doc/sallyport/docs/five-minutes
END
fi
