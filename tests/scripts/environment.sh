#!/bin/sh
# Shows the aliases that a program sees.
echo "DATA=$DATA"
echo "DATA_PATH=$DATA_PATH"
echo "LOADED=${LOADED:-not there}"
