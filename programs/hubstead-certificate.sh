#!/bin/sh
# Written by Hubstead. What gets the certificate stands in /etc/hubstead/tls/way.
set -eu
case ${1-} in
    renew) ;;
    *)
        echo "usage: hubstead-certificate renew" >&2
        echo "Replaces the certificate of the service by a new one. The present one stays when" >&2
        echo "that fails." >&2
        exit 2
        ;;
esac
if [ "$(id -u)" != 0 ]; then
    echo "Only root may: sudo hubstead-certificate renew" >&2
    exit 1
fi
read -r way </etc/hubstead/tls/way
case $way in
    internal)
        rm -f /etc/hubstead/tls/issued-for
        exec /usr/local/lib/hubstead/internal-certificate
        ;;
    files)
        echo "This certificate is brought from the control machine (tls = files): put the new" >&2
        echo "files where tls_certificate and tls_key say, and run pyinfra again." >&2
        exit 1
        ;;
    acme)
        exec /usr/local/lib/hubstead/certbot-certificate renew
        ;;
esac
