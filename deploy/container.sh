#!/bin/sh
# Run kuma-sync in a container that is started again whenever it ends; compose.yaml says so. In the image this is
# kuma-sync-container.
#
# No restart policy knows exit code 2, a wrong configuration, where another start does not help. So the daemon's end is
# looked at here: after that code the container stays, unhealthy, with what is wrong in its log, until it is restarted.
# Signals are handed on; one may end the wait in the moment when the daemon ends, whose code is then asked for once more.
# Other commands than run are not touched.
[ "$1" = run ] || exec kuma-sync "$@"
trap 'kill -TERM $daemon' TERM INT
trap 'kill -HUP $daemon' HUP
kuma-sync "$@" & daemon=$!
while wait $daemon; code=$?; kill -0 $daemon 2>/dev/null; do :; done
wait $daemon; last=$?; [ $last = 127 ] || code=$last
[ $code = 2 ] || exit $code
echo 'kuma-sync waits here: correct what it says above, then restart the container' >&2
trap 'exit 2' TERM INT HUP
sleep infinity & wait
