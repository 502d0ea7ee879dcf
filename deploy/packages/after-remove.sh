#!/bin/sh
# Runs after the files were removed. dpkg passes "remove", "purge" or "upgrade"; rpm passes
# the number of versions that stay.
set -e

if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
fi
# Don't delete data that can't be restored, not even on purge: without the key ring no
# backup can be opened. The user stays, since it owns the files.
case "$1" in
purge | 0)
	if [ -e /var/lib/sallyport ]; then
		echo "Accounts and key ring of Sallyport stay in /var/lib/sallyport. To delete them for good: rm -r /var/lib/sallyport; userdel sallyport"
	fi
	;;
esac
