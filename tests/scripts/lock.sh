#!/bin/sh
# Makes a file immutable, or what is to become so again. Usage: lock.sh +i|-i FILE
exec chattr "$1" "$2"
