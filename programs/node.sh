#!/bin/sh
# Written by Hubstead: node, npm or npx of the release, by the name under which this file lies.
program=$(readlink -f "$0")
release=/opt/hubstead/node/current/bin
# Node.js does not read the host's store of certificates by itself.
export NODE_EXTRA_CA_CERTS="${NODE_EXTRA_CA_CERTS:-/etc/ssl/certs/ca-certificates.crt}"
registry=/etc/hubstead/npm-registry
if [ -z "${NPM_CONFIG_REGISTRY-}" ] && [ -r "$registry" ]; then
    NPM_CONFIG_REGISTRY=$(cat "$registry")
    export NPM_CONFIG_REGISTRY
fi
export PATH="$release:$PATH"
exec "$release/${program##*/}" "$@"
