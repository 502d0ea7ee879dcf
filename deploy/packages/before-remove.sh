#!/bin/sh
# Runs before the files are removed. dpkg passes "remove" or "upgrade"; rpm passes the
# number of versions that stay. During an upgrade the server runs on; after-install.sh
# restarts it.
set -e

case "$1" in
remove | 0) ;;
*) exit 0 ;;
esac
if [ -d /run/systemd/system ]; then
	systemctl disable --now sallyport.service
fi
