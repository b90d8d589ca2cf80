#!/bin/sh
# Puts Hubstead's chains, those named HUBSTEAD-..., in front of the host's other rules.
#
#   firewall-apply               enforce the rules in /etc/hubstead/firewall
#   firewall-apply try SECONDS   enforce the new ones (*.new) so long, unless `keep` follows
#   firewall-apply keep          the new ones are good: they replace the former ones
#   firewall-apply back          the former rules, where a trial still runs
#   firewall-apply remove        no rules of ours
set -eu
PATH=/usr/sbin:/usr/bin:/sbin:/bin
rules=/etc/hubstead/firewall/rules
rollback=hubstead-firewall-rollback

# Pass on all rules but those for an account that is gone: a table with one would not load at all.
of_known_accounts() {
    while read -r rule; do
        case $rule in *' --uid-owner '*)
            account=${rule#* --uid-owner }
            id -u "${account%% *}" >/dev/null 2>&1 || continue
            ;;
        esac
        printf '%s\n' "$rule"
    done
}

# Put the rules of FILE in the place of ours, in one transaction: the kernel has the former rules
# or these, and at no moment a part of them. Fails when somebody else's change comes in between.
replace() { # TOOL FILE
    live=$("$1" -w -S) || return 1
    {
        echo '*filter'
        grep '^:' "$2" || :
        if grep -q '^-I DOCKER-USER ' "$2" && ! echo "$live" | grep -qx -- '-N DOCKER-USER'; then
            echo ':DOCKER-USER - [0:0]' # Docker takes it over when it starts
        fi
        echo "$live" | sed -n 's/^-A \(.* -j HUBSTEAD-[A-Z]*\)$/-D \1/p'
        echo "$live" | sed -n 's/^-N \(HUBSTEAD-[A-Z]*\)$/\1/p' | while read -r chain; do
            grep -q "^:$chain " "$2" || printf -- '-F %s\n-X %s\n' "$chain" "$chain"
        done
        { grep '^-' "$2" || :; } | of_known_accounts
        echo COMMIT
    } | "$1-restore" -w --noflush
}

replace_persistently() { # TOOL FILE
    replace "$@" || { sleep 1 && replace "$@"; } || { sleep 2 && replace "$@"; }
}

replace_all() { # IPV4-FILE IPV6-FILE
    replace_persistently iptables "$1"
    if [ -e /proc/net/if_inet6 ]; then # absent where the kernel has no IPv6
        replace_persistently ip6tables "$2"
    fi
}

enforce() { # SUFFIX
    replace_all "$rules.v4$1" "$rules.v6$1"
    if grep -q '^:HUBSTEAD-USERS ' "$rules.v4$1"; then
        # else packets between two containers on one bridge do not meet the FORWARD chain
        [ -e /proc/sys/net/bridge ] || modprobe br_netfilter
        echo 1 >/proc/sys/net/bridge/bridge-nf-call-iptables
        echo 1 >/proc/sys/net/bridge/bridge-nf-call-ip6tables
    fi
}

exec 9>/run/hubstead-firewall.lock
flock 9
case "${1-}" in
'')
    enforce ''
    ;;
try)
    systemctl stop "$rollback.timer" 2>/dev/null || :
    systemd-run --quiet --collect --unit="$rollback" \
        --on-active="$2" --timer-property=AccuracySec=100ms -- "$0" back
    enforce .new
    ;;
keep)
    if ! [ -e "$rules.v4.new" ]; then
        echo 'Nobody confirmed the new firewall rules in time: the former ones are back.' >&2
        exit 1
    fi
    sync "$rules.v4.new" "$rules.v6.new"
    mv -f "$rules.v6.new" "$rules.v6"
    mv -f "$rules.v4.new" "$rules.v4"
    systemctl stop "$rollback.timer" 2>/dev/null || :
    ;;
back)
    [ -e "$rules.v4.new" ] || exit 0
    rm -f "$rules.v4.new" "$rules.v6.new"
    if [ -e "$rules.v4" ]; then
        enforce ''
    else
        replace_all /dev/null /dev/null
    fi
    ;;
remove)
    replace_all /dev/null /dev/null
    ;;
*)
    sed -n 's/^#   //p' "$0" >&2
    exit 2
    ;;
esac
