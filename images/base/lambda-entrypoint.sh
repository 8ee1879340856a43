#!/bin/sh
# Entry point of AWS's base images: one argument, the handler, which the runtime
# reads from _HANDLER. The Runtime API is the environment's; no emulator is started here.
if [ $# -ne 1 ]; then
  echo "entrypoint requires the handler name to be the first argument" >&2
  exit 142
fi
export _HANDLER="$1"
exec /var/runtime/bootstrap
