#!/bin/sh
# Written by Hubstead: the certificate of this host, from its own authority.
#
#   internal-certificate          issues the certificate, unless the present one will do
#   internal-certificate --check  says `valid` when it will do: right names, right key, our
#                                 authority within its limits, and more than 30 days left
#
# The names of the certificate are in the file names, and those for which the authority's root may
# vouch, with what lies below them, in the file permitted: people trust the root, and whoever had its
# key could otherwise pretend to be any site that they visit (name constraints: RFC 5280, 4.2.1.10).
# A root that permits more than the file stays, since a new one has to be trusted anew.
set -eu
umask 077
cd /etc/hubstead/tls

# general FILE: the names in it, one a line, as OpenSSL writes them (x509v3_config(5))
general() {
    while read -r name; do
        case $name in
            *:*) echo "IP:$name" ;;
            *[!0-9.]*) echo "DNS:$name" ;;
            *) echo "IP:$name" ;;
        esac
    done <"$1"
}

sans() {
    general names | paste -sd, -
}

# A kind of which the root permits no name would have all of them permitted. `invalid` is nobody's
# (RFC 2606).
constraints() {
    {
        general permitted | sed -e '/^IP:.*:/s,$,/ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff,' \
            -e '/^IP:[0-9.]*$/s,$,/255.255.255.255,' -e 's/^/permitted;/'
        general permitted | grep -q ^DNS: || echo 'permitted;DNS:invalid'
        general permitted | grep -q ^IP: || echo 'excluded;IP:0.0.0.0/0.0.0.0,excluded;IP:::/::'
        echo 'permitted;email:invalid,permitted;URI:invalid'
    } | paste -sd, -
}

limited() {
    openssl x509 -in ca.pem -noout -ext nameConstraints 2>/dev/null | grep -q critical
}

valid() {
    [ "$(cat issued-for 2>/dev/null)" = "$(sans)" ] && limited &&
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

# quietly COMMAND...: what it says matters when it fails
quietly() {
    "$@" >"$new/said" 2>&1 || { cat "$new/said" >&2; return 1; }
}

# key SUBJECT FILE: a key, and a request for its certificate
key() {
    quietly openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "$1" \
        -keyout "$2" -out "$new/request.pem"
}

# sign_root KEY ARGUMENT...: the root, from a request or a root of before
sign_root() {
    cat >"$new/extensions" <<END
basicConstraints = critical, CA:TRUE, pathlen:0
keyUsage = critical, keyCertSign, cRLSign
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
nameConstraints = critical, $(constraints)
END
    signing=$1
    shift
    quietly openssl x509 "$@" -signkey "$signing" -days 3650 -set_serial "0x$(openssl rand -hex 16)" \
        -clrext -extfile "$new/extensions" -out "$new/ca.pem"
    chmod 644 "$new/ca.pem"
}

make_authority() {
    key "/O=Hubstead/CN=Hubstead authority of $(head -n 1 names | cut -c 1-40)" "$new/ca-key.pem"
    sign_root "$new/ca-key.pem" -req -in "$new/request.pem"
    # never a root beside the key of another, where this is cut
    rm -f ca.pem
    mv "$new/ca-key.pem" ca-key.pem
    mv "$new/ca.pem" ca.pem
    echo "A new authority: who trusted the root of an earlier one has to trust $PWD/ca.pem" >&2
}

issue() {
    key "/CN=Hubstead host" "$new/key.pem"
    cat >"$new/extensions" <<END
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = $(sans)
END
    quietly openssl x509 -req -in "$new/request.pem" -CA ca.pem -CAkey ca-key.pem -days 397 \
        -set_serial "0x$(openssl rand -hex 16)" -extfile "$new/extensions" \
        -out "$new/fullchain.pem"
}

if ! [ -s ca.pem ]; then
    make_authority
elif ! limited; then
    # of an earlier version: the same key, so that who trusts the old root still gets in, and
    # certificates stay
    sign_root ca-key.pem -in ca.pem
    mv "$new/ca.pem" ca.pem
    if valid; then exit 0; fi
fi
issue
# dates say nothing about names, and a wrong clock must not cost people their root
if ! openssl verify -no_check_time -CAfile ca.pem "$new/fullchain.pem" >/dev/null 2>&1; then
    make_authority
    issue
fi
install=/usr/local/lib/hubstead/install-certificate
"$install" /etc/hubstead/tls "$new/fullchain.pem" "$new/key.pem"
sans >issued-for
chmod 644 issued-for
