#!/bin/sh
# The floor: what installing the same things costs without any of our work. Run as root on a bare
# host. The arguments are Debian packages; the locks and certificates lie beside this script.
set -eu
export DEBIAN_FRONTEND=noninteractive UV_SYSTEM_CERTS=1 UV_PYTHON_DOWNLOADS=never
export PIP_CERT=/etc/ssl/certs/ca-certificates.crt
cd "$(dirname "$0")"
apt-get update -q
apt-get install -qy --no-install-recommends "$@"
find . -name '*.crt' -exec cp -t /usr/local/share/ca-certificates {} +
update-ca-certificates
python3 -m venv /opt/uv
/opt/uv/bin/pip install -q --require-hashes -r locks/uv.txt
rm locks/uv.txt
for lock in locks/*.txt; do
    [ -e "$lock" ] || break # there is none
    component=$(basename "$lock" .txt)
    /opt/uv/bin/uv venv -q "/opt/$component"
    /opt/uv/bin/uv pip install -q --compile-bytecode --python "/opt/$component/bin/python" \
        --require-hashes -r "$lock"
done
