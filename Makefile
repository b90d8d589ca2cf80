# The front door. `make up` on a fresh Debian machine, as root, is all the set-up there is.
INVENTORY ?= inventories/lab.py
PYTHON := .venv/bin/python
PYINFRA := .venv/bin/pyinfra
apt = command -v $(1) >/dev/null || { apt-get update -q && \
      DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends $(2); }

.PHONY: up down test test-all tools lint bench docs locks

up: .venv/ready ## boot the lab's hosts and deploy the service to them
	@$(call apt,mmdebstrap,mmdebstrap systemd-container iptables openssh-client)
	@$(call apt,mkfs.btrfs,btrfs-progs)
	$(PYTHON) -m lab up $(INVENTORY)
	$(PYINFRA) -y --group-data .lab/group_data $(INVENTORY) deploys/all.py
	@echo "The lab's hosts (for a browser here, add to /etc/hosts the address with the name and admin.NAME):"
	@$(PYTHON) -m lab ls
	@echo "The admin's one-time password: $(PYTHON) -m lab ssh HOST sudo hub-users initial-password admin"

down: .venv/ready ## remove the lab's hosts and all their traces
	$(PYTHON) -m lab down

test: lint tools ## what a change must pass; `.venv/bin/pytest -m "not slow"` while you work
	$(PYTHON) -m tests.lanes -m "not every"

test-all: lint tools ## every combination and switch, on both Debian releases
	$(PYTHON) -m tests.lanes
	LAB_OS=bookworm $(PYTHON) -m tests.lanes -m slow

tools: ## what the tests need of this machine
	@$(call apt,mmdebstrap,mmdebstrap systemd-container iptables openssh-client)
	@$(call apt,mkfs.btrfs,btrfs-progs)
	@$(call apt,certutil,libnss3-tools)
	@$(call apt,chromium,chromium)
	@$(call apt,pg_lsclusters,postgresql)
	@$(call apt,qemu-system-x86_64,qemu-system-x86)
	@$(call apt,mkfs.xfs,xfsprogs)
	@$(call apt,faketime,faketime)
	@$(call apt,xmlsec1,xmlsec1)
	@# without a directory of this machine's own
	@command -v slapd >/dev/null || echo slapd slapd/no_configuration boolean true | debconf-set-selections
	@$(call apt,slapd,slapd ldap-utils)

lint: .venv/test ## style, types and the slips of shell
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/shellcheck programs/*.sh

bench: .venv/test ## a deploy against a plain shell script, and what neighbours of the greedy notice, a class
	@$(call apt,mmdebstrap,mmdebstrap systemd-container iptables openssh-client)
	$(PYTHON) -m bench
	$(PYTHON) -m bench.neighbours
	@$(call apt,certutil,libnss3-tools)
	@$(call apt,chromium,chromium)
	$(PYTHON) -m bench.classroom

docs: .venv/ready ## write the settings reference again
	$(PYTHON) -m hubstead.reference

locks: .venv/ready ## pin anew what locks/*.in and requirements*.in name
	for lock in locks/*.in; do .venv/bin/uv pip compile -q --universal --python-version 3.11 \
	    --generate-hashes --no-header --no-annotate $$lock -o $${lock%.in}.txt || exit 1; done
	@# which schemas of its database the Hub knows, its own first
	.venv/bin/uv run -q --no-project --with "$$(grep -o '^jupyterhub==[0-9.]*' locks/hub.txt)" python -c \
	    'from alembic.script import ScriptDirectory; from jupyterhub.dbutil import ALEMBIC_DIR; print(*(each.revision for each in ScriptDirectory(ALEMBIC_DIR).walk_revisions()), sep="\n")' \
	    >locks/hub.revisions
	@# and the scopes that a program may have
	.venv/bin/uv run -q --no-project --with "$$(grep -o '^jupyterhub==[0-9.]*' locks/hub.txt)" python -c \
	    'from jupyterhub.scopes import scope_definitions; print(*sorted(scope_definitions), sep="\n")' \
	    >locks/hub.scopes
	@# of a part: what goes with the lock of its component, and is not in that
	for lock in locks/*/*.in; do whole=$${lock%/*}.txt; .venv/bin/uv pip compile -q --universal \
	    --python-version 3.11 --generate-hashes --no-header --no-annotate -c $$whole \
	    $$(sed -n 's/^\([a-z0-9.-]*\)==.*/--no-emit-package \1/p' $$whole) \
	    $$lock -o $${lock%.in}.txt || exit 1; done
	@# a mirror's address must not get into the lock: hosts ask the registry of their own settings
	for lock in locks/*/package.json tests/kit/identity_server/package.json; do rm -f $${lock%.json}-lock.json; \
	    .venv/bin/uv tool run -q --from "$$(cat locks/node.in)" npm install --prefix $${lock%/*} \
	    --package-lock-only --omit-lockfile-registry-resolved --ignore-scripts --no-audit --no-fund \
	    >/dev/null || exit 1; done
	for file in requirements requirements-test; do .venv/bin/uv pip compile -q --universal \
	    --python-version 3.11 --generate-hashes --no-header --no-annotate $$file.in \
	    -o $$file.txt || exit 1; done

.venv/ready: requirements.txt config.py
	@$(call apt,python3,python3)
	@python3 -c 'import ensurepip, venv' 2>/dev/null || $(call apt,no-venv-module,python3-venv)
	python3 -m venv .venv
	.venv/bin/pip install -q --disable-pip-version-check --require-hashes -r requirements.txt
	@# pyinfra finds `hubstead` in whatever directory it is run (docs/own.md)
	@echo '$(CURDIR)' >"$$(.venv/bin/python -c 'import site; print(site.getsitepackages()[0])')/hubstead.pth"
	@touch $@

.venv/test: .venv/ready requirements-test.txt
	.venv/bin/pip install -q --disable-pip-version-check --require-hashes -r requirements-test.txt
	@touch $@
