#!/bin/sh
# After the files are gone. dpkg says "remove", "purge" or "upgrade"; rpm how many
# versions stay.
set -e

if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
fi
# What nobody can make again isn't deleted, not even by purge: the key ring opens
# every backup too. The user stays, since the files are its.
case "$1" in
purge | 0)
	if [ -e /var/lib/sallyport ]; then
		echo "Accounts and key ring of Sallyport stay in /var/lib/sallyport. To delete them for good: rm -r /var/lib/sallyport; userdel sallyport"
	fi
	;;
esac
