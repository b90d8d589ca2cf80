#!/bin/sh
# Written by Hubstead: puts a certificate and its key into a directory as a pair, and runs the hooks.
#
#   install-certificate DIRECTORY FULLCHAIN KEY  installs the two files
#   install-certificate DIRECTORY                runs the hooks alone, where they are due
#
# A pair is a directory below versions/, and current is a link to it: one rename replaces both files.
# Who opens one before it and the other after has a mixed pair, until the hooks have it read again.
# They are due until certificate-hooks has run them for the current pair, which the file announced
# tells. A hook that fails is not this script's failure: the pair is in place.
set -eu
umask 077
cd "$1"
exec 9>.install.lock
flock 9
mkdir -p versions
chmod 755 versions
rm -rf versions/new.*

# link TARGET NAME: a link that is right keeps its age, by which servers see a new certificate
link() {
    if [ "$(readlink "$2")" != "$1" ]; then
        ln -sfT "$1" "$2.new"
        mv -fT "$2.new" "$2"
    fi
}

if [ $# -gt 1 ]; then
    new=$(mktemp -d versions/new.XXXXXX)
    trap 'rm -rf "$new"' EXIT
    cat "$2" >"$new/fullchain.pem"
    cat "$3" >"$new/key.pem"
    if [ "$(openssl x509 -in "$new/fullchain.pem" -noout -pubkey)" != \
        "$(openssl pkey -in "$new/key.pem" -pubout)" ]; then
        echo "$3 is not the key of $2: the certificate in $1 stays" >&2
        exit 1
    fi
    chmod 644 "$new/fullchain.pem"
    chgrp hubstead-tls "$new/key.pem"
    chmod 640 "$new/key.pem"
    chmod 755 "$new"
    version=versions/$(sha256sum <"$new/fullchain.pem" | cut -c 1-16)
    if ! cmp -s "$new/key.pem" "$version/key.pem"; then
        rm -rf "$version"
        sync "$new/fullchain.pem" "$new/key.pem"
        mv -T "$new" "$version"
    fi
    link "$version" current
    link current/fullchain.pem fullchain.pem
    link current/key.pem key.pem
fi

current=$(readlink current)
for version in versions/*; do
    if [ "$version" != "$current" ]; then rm -rf "$version"; fi
done
if [ "$(cat announced 2>/dev/null)" != "$current" ]; then
    exec 9>&-
    systemctl start hubstead-certificate-hooks.service ||
        echo "The certificate in $1 is in place; a hook failed, see the unit's journal" >&2
fi
