#!/bin/sh
# After an installation or upgrade. dpkg says "configure" and which version was
# there before; rpm how many versions there are now.
set -e

case "$1:$2" in
configure: | 1:) first=yes ;;
configure:* | 2:) first= ;;
*) exit 0 ;; # another change was undone
esac

if ! getent passwd sallyport >/dev/null; then
	useradd --system --user-group --no-create-home --home-dir /var/lib/sallyport \
		--shell /usr/sbin/nologin --comment Sallyport sallyport
fi
# Where the group can read it already, or the operator gave it to somebody else,
# it stays so.
if [ "$(stat -c %U:%G /etc/sallyport/sallyport.yaml 2>&-)" = root:root ]; then
	chgrp sallyport /etc/sallyport/sallyport.yaml
fi
# The unit would make it too, but restore comes before the first start.
if [ ! -e /var/lib/sallyport ]; then
	install -d -m 0700 -o sallyport -g sallyport /var/lib/sallyport
fi

if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
	# A running server goes on as the new version. One that doesn't leaves the
	# package installed.
	systemctl try-restart sallyport.service || true
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
