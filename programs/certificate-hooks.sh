#!/bin/sh
# Written by Hubstead: has those who use a certificate read it again, by the hooks of its directory.
#
#   certificate-hooks DIRECTORY...
#
# Hooks are the executable files in DIRECTORY/hooks but for backups (NAME~), in the order of their
# names, as certbot takes its own. Each runs in DIRECTORY. One that fails, or takes more than five
# minutes, keeps no other from its turn: it alone stays in the file due, and each later call tries it
# again. This script fails as long as there is one.
# where the disk takes nothing, this ends, and the next call begins again
set -eu

is_announced() {
    [ "$(cat announced 2>/dev/null)" = "$(readlink current)" ]
}

# run: the hooks in the file due, in which those that failed stay
run() {
    while read -r hook; do
        if [ "$hook" = "${hook%\~}" ] && [ -f "$hook" ] && [ -x "$hook" ] &&
            ! timeout --kill-after=10 300 "./$hook" </dev/null >&2; then
            echo "$PWD/$hook failed, and will be tried again" >&2
            echo "$hook"
        fi
    done <due >due.new
    mv -f due.new due
}

status=0
for directory; do
    cd "$directory" 2>/dev/null || continue
    if is_announced && [ -s due ]; then run; fi
    # a further pair may come while the hooks run
    until is_announced; do
        current=$(readlink current)
        printf '%s\n' hooks/* >due
        run
        echo "$current" >announced
    done
    if [ -s due ]; then status=1; fi
done
exit $status
