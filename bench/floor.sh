#!/bin/sh
# The floor: what installing the same things costs without any of our work. Run as root on a bare
# host; the locks and certificates lie beside this script.
set -eu
export DEBIAN_FRONTEND=noninteractive UV_SYSTEM_CERTS=1 UV_PYTHON_DOWNLOADS=never
export PIP_CERT=/etc/ssl/certs/ca-certificates.crt
cd "$(dirname "$0")"
. /etc/os-release
case $VERSION_ID in
    12) packages="postgresql-15 docker.io" ;;
    *) packages="postgresql-17 docker.io docker-cli docker-buildx" ;;
esac
apt-get update -q
apt-get install -qy --no-install-recommends ca-certificates curl iptables openssl python3-venv \
    unattended-upgrades $packages
cp ./*.crt /usr/local/share/ca-certificates/
update-ca-certificates
python3 -m venv /opt/uv
/opt/uv/bin/pip install -q --require-hashes -r uv.txt
for component in hub traefik node userdb; do
    /opt/uv/bin/uv venv -q "/opt/$component"
    /opt/uv/bin/uv pip install -q --compile-bytecode --python "/opt/$component/bin/python" \
        --require-hashes -r "$component.txt"
done
