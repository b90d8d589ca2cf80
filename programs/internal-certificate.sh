#!/bin/sh
# Written by Hubstead: the certificate of this host, from its own authority.
#
#   internal-certificate          issues the certificate, unless the present one will do
#   internal-certificate --check  says `valid` when it will do: right names, right key, our
#                                 authority, and more than 30 days left
set -eu
umask 077
cd /etc/hubstead/tls

sans() {
    while read -r name; do
        case $name in
            *:*) echo "IP:$name" ;;
            *[!0-9.]*) echo "DNS:$name" ;;
            *) echo "IP:$name" ;;
        esac
    done <names | paste -sd, -
}

valid() {
    [ "$(cat issued-for 2>/dev/null)" = "$(sans)" ] &&
        openssl verify -CAfile ca.pem fullchain.pem >/dev/null 2>&1 &&
        openssl x509 -in fullchain.pem -noout -checkend 2592000 >/dev/null 2>&1 &&
        [ "$(openssl x509 -in fullchain.pem -noout -pubkey)" = \
            "$(openssl pkey -in key.pem -pubout 2>/dev/null)" ] &&
        [ "$(cat announced 2>/dev/null)" = "$(readlink current)" ]
}

if [ "${1-}" = --check ]; then
    if valid; then echo valid; fi
    exit 0
fi

exec 9>.lock
flock 9
if valid; then exit 0; fi

new=$(mktemp -d ./new.XXXXXX)
trap 'rm -rf "$new"' EXIT
if ! [ -s ca.pem ]; then
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 \
        -subj "/O=Hubstead/CN=Hubstead authority of $(head -n 1 names | cut -c 1-40)" \
        -addext basicConstraints=critical,CA:TRUE,pathlen:0 \
        -addext keyUsage=critical,keyCertSign,cRLSign \
        -keyout "$new/ca-key.pem" -out "$new/ca.pem" 2>/dev/null
    chmod 644 "$new/ca.pem"
    mv "$new/ca-key.pem" ca-key.pem
    mv "$new/ca.pem" ca.pem
fi

cat >"$new/extensions" <<END
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = $(sans)
END
openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=Hubstead host" \
    -keyout "$new/key.pem" -out "$new/request.pem" 2>/dev/null
openssl x509 -req -in "$new/request.pem" -CA ca.pem -CAkey ca-key.pem -days 397 \
    -set_serial "0x$(openssl rand -hex 16)" -extfile "$new/extensions" -out "$new/fullchain.pem" 2>/dev/null
install=/usr/local/lib/hubstead/install-certificate
"$install" /etc/hubstead/tls "$new/fullchain.pem" "$new/key.pem"
sans >issued-for
chmod 644 issued-for
