#!/bin/sh
# Written by Hubstead: certbot runs this after each renewal, for whichever certificate.
[ "$RENEWED_LINEAGE" = /etc/letsencrypt/live/hubstead ] || exit 0
exec /usr/local/lib/hubstead/install-certificate /etc/hubstead/certificate \
    "$RENEWED_LINEAGE/fullchain.pem" "$RENEWED_LINEAGE/privkey.pem"
