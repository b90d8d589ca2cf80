"""What owners had on their hosts before: a PostgreSQL and a Docker, each with something of a shop's
that goes on.
"""

_POSTGRES = r"""
export DEBIAN_FRONTEND=noninteractive
apt-get update -q >/dev/null
apt-get install -qy --no-install-recommends postgresql-{version} >/dev/null
cd /etc/postgresql/{version}/main
sed -i '1i # of the shop\nhost shop shop samenet scram-sha-256\nlocal shop all trust' pg_hba.conf
cat >conf.d/shop.conf <<END
listen_addresses = '*'
max_connections = 37
shared_buffers = 48MB
log_statement = ddl
END
cat pg_hba.conf conf.d/shop.conf >/root/theirs
systemctl restart postgresql@{version}-main
cd /
runuser -u postgres -- psql -q -v ON_ERROR_STOP=1 <<END
CREATE ROLE shop LOGIN PASSWORD 'fine goods';
CREATE DATABASE shop OWNER shop;
\c shop
CREATE TABLE goods AS SELECT 'tea' AS name;
GRANT ALL ON goods TO shop;
END
systemd-run -q --collect --unit=customer --uid=nobody \
    psql -d shop -U shop -c "SELECT pg_sleep(100000)"
"""
#: As a client on the network, and one on the host, see it; the settings; since when it runs
POSTGRES_LOOK = r"""
export PGPASSWORD='fine goods'
client='runuser -u nobody -- psql -AtXq -U shop -d shop'
$client -h $(hostname -I | cut -d' ' -f1) -c 'SELECT name FROM goods'
$client -c 'SELECT name FROM goods'
for each in listen_addresses max_connections shared_buffers log_statement ssl_cert_file; do
    $client -c "SHOW $each"
done
$client -c "SELECT pg_postmaster_start_time(), backend_start FROM pg_stat_activity
            WHERE query LIKE 'SELECT pg_sleep%'"
cd /etc/postgresql/*/main
sed '/^# BEGIN Hubstead/,/^# END Hubstead/d' pg_hba.conf | cat - conf.d/shop.conf |
    diff - /root/theirs
stat -c '%U %G %a' pg_hba.conf
"""

DOCKER = r"""
export DEBIAN_FRONTEND=noninteractive
apt-get update -q >/dev/null
mkdir -m 750 /etc/docker
cat >/etc/docker/daemon.json
chmod 640 /etc/docker/daemon.json
apt-get install -qy --no-install-recommends docker.io >/dev/null
if apt-cache show docker-cli >/dev/null 2>&1; then apt-get install -qy docker-cli >/dev/null; fi
tar -chf - -C / bin/sleep $(ldd /bin/sleep | grep -o '/[^ ]*') 2>/dev/null |
    docker import - shop >/dev/null
docker volume create goods >/dev/null
echo tea >/srv/docker/volumes/goods/_data/goods
docker run -d --name shop -v goods:/goods -p 8080:80 shop /bin/sleep 100000 >/dev/null
"""
DOCKER_SETTINGS = """{"data-root": "/srv/docker", "log-driver": "local",
 "default-address-pools": [{"base": "10.201.0.0/16", "size": 24}], "exec-opts": []}
"""
#: The containers and since when they run, the volumes, and their own settings
DOCKER_LOOK = r"""
docker inspect --format '{{.Name}} {{.State.Status}} {{.State.StartedAt}} {{.State.Pid}}' shop
docker volume ls --quiet
cat $(docker volume inspect --format '{{.Mountpoint}}' goods)/goods
docker info --format '{{.DockerRootDir}} {{.LoggingDriver}}'
stat -c '%n %U %a' /etc/docker /etc/docker/daemon.json
python3 -c 'import json
print(sorted((key, str(value)) for key, value in json.load(open("/etc/docker/daemon.json")).items()
             if key not in ("exec-opts", "live-restore")))'
"""

_VERSIONS = {"bookworm": 15, "trixie": 17}


def postgres(os: str) -> str:
    """The script that installs the shop's PostgreSQL on a Debian release."""
    return _POSTGRES.replace("{version}", str(_VERSIONS[os]))
