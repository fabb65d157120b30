#!/bin/sh
echo "I fail"
exit 3
