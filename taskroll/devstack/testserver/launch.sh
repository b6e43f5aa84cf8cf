#!/bin/sh
# temporal-test-server PORT: Temporal's time-skipping server, from the jars beside this script.
here=$(dirname "$0")
parent=$PPID self=$$
# The server must not outlive the tests that started it, even when they are killed.
(
  while kill -0 "$parent" && kill -0 "$self"; do sleep 1; done
  kill "$self"
) >/dev/null 2>&1 &
# One server lives for one test file: it should start fast rather than run fast.
exec java -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:-UsePerfData -Xshare:auto \
  -cp "$here/jars/*" io.temporal.testserver.TestServer "$@"
