#!/bin/sh
# Shows a folder's files and what they hold. Usage: show.sh FOLDER
cd "$1" || exit 1
find . -name .umbra -prune -o -type f -print | sort | while read -r file; do
    echo "$file: $(cat "$file")"
done
