#!/bin/sh
# What happens to a share after its snapshot: files change, go, and come. Usage: change.sh SHARE
cd "$1" || exit 1
echo "after" >d/file
rm d/gone
echo "new" >d/new
