#!/bin/sh
# Keeps one lab host running: supervise.sh PID_FILE COMMAND..., with the host's control groups,
# one a hierarchy, in LAB_CGROUPS. Started in a session of its own, it outlives the `lab` command.
set -u
pid_file=$1
shift

enter() {
    for group in $LAB_CGROUPS; do
        # cgroup v2 admits no process to a group whose children a former boot left behind.
        find "$group/$1" -depth -type d -exec rmdir {} + 2>/dev/null
        mkdir -p "$group/$1"
        echo 0 >"$group/$1/cgroup.procs"
    done
}

enter supervisor
echo $$ >"$pid_file"
while :; do
    (
        enter host
        exec "$@"
    )
    # systemd-nspawn leaves a reboot to its caller, by this status (--keep-unit).
    [ $? -eq 133 ] || break
done
