#!/bin/sh
# Prints the license of Sallyport and those of all modules that are compiled into the
# binary: most of them demand that it ships with their text.
set -eu

cat LICENSE
go list -deps -f '{{with .Module}}{{if not .Main}}{{.Path}} {{.Dir}}{{end}}{{end}}' ./cmd/sallyport | sort -u |
	{ echo "Go $(go env GOROOT)" && cat; } | while read -r module dir; do
	for file in "$dir"/LICENSE* "$dir"/COPYING* "$dir"/NOTICE*; do
		if [ -f "$file" ]; then
			printf '\n\n%s, which is part of sallyport, says in its %s:\n\n' "$module" "${file##*/}"
			cat "$file"
			found=$module
		fi
	done
	[ "$found" = "$module" ] || { echo "$module has no license in $dir" >&2 && exit 1; }
done
