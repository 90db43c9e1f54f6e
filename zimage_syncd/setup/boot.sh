# Brings zimage-syncd back onto a system disk, and starts it. The start-up line has compared the digest of this script; the
# script compares the digests of all that it unpacks, there where nobody but root can change it.
# $1: where the disk is mounted. $2: the path of this script on it. $3: nothing at a start of the machine; `prove`: only
# unpack the program, and see whether it starts; `install`: put all in place, by the word of a person.
set -u
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C
export PATH LC_ALL
umask 022
cd / || exit 1
disk=$1 here=$1/${2%/*} mode=${3:-boot} homes=/usr/local/lib/zimage-syncd link=/usr/local/bin/zimage-syncd
log=/var/log/zimage-syncd.log pid_file=/run/zimage-syncd.pid new='' changed=''
home=$homes/$program

say() { echo "zimage-syncd: $*" >&2; }

stop() {
    say "$*; nothing was started"
    [ -z "$new" ] || rm -rf "$new"
    exit 1
}

# Whether a file is root's, and nobody else may write it; a link is not.
is_roots() { [ -n "$(find "$1" -prune -type f -user 0 ! -perm -020 ! -perm -002 2>/dev/null)" ]; }

# unpack NAME SHA256 DIRECTORY
unpack() {
    is_roots "$here/$1" || stop "$here/$1 is missing, or others than root may change it"
    cp "$here/$1" "$new/$1" || stop "$here/$1 cannot be copied to $new"
    [ "$(sha256sum <"$new/$1")" = "$2  -" ] || stop "$here/$1 is not what was installed"
    mkdir "$3" && tar --no-same-owner -xf "$new/$1" -C "$3" || stop "$here/$1 cannot be unpacked to $3"
    rm "$new/$1"
}

bring_program() {
    [ ! -e "$home/complete" ] || return
    unpack program.tar "$program_sha256" "$new/program"
    env -i PATH="$PATH" "$new/program/bin/zimage-syncd" --version >/dev/null 2>"$new/why" || stop \
        "the program does not start: $(tail -n 1 "$new/why") (needed is glibc $glibc, here is $(getconf GNU_LIBC_VERSION))"
    # After a power cut, too, what is complete is whole.
    sync -f "$new/program" 2>/dev/null || sync
    : >"$new/program/complete"
    [ ! -e "$home/complete" ] || return 0 # another run of this script was faster, and may have started it
    rm -rf "$home"
    mv -T "$new/program" "$home" || stop "$home cannot be made"
}

# The configuration says $place; the disk may be mounted elsewhere now.
lead_to_disk() {
    ! [ "$disk" -ef "$place" ] || return 0
    mkdir -p "$place" 2>/dev/null
    [ -z "$(ls -A "$place" 2>/dev/null)" ] || stop "the disk is mounted at $disk, and something else is in $place"
    mount --bind "$disk" "$place" 2>/dev/null || { rmdir "$place" && ln -s "$disk" "$place"; } ||
        stop "the disk is mounted at $disk, and $place cannot be made to lead there"
    say "$place leads to the disk, which is mounted at $disk"
}

# put TREE FILE
put() {
    # A new time: systemd takes a unit of 1970 for one that was masked. On the disk before it has its name: what is there
    # stays, and after a power cut it would be empty.
    mkdir -p "/${2%/*}" && cp -p "$new/settings/$1/$2" "/$2.zimage-syncd-new" && touch "/$2.zimage-syncd-new" &&
        sync "/$2.zimage-syncd-new" &&
        mv -f "/$2.zimage-syncd-new" "/$2" ||
        stop "/$2 cannot be written"
}

# Somebody else's command of this name stays; a link that leads nowhere does not.
put_link() {
    case $(readlink "$link") in "$homes"/*) rm -f "$link" ;; esac
    [ -e "$link" ] || { mkdir -p "${link%/*}" && ln -sfn "$home/bin/zimage-syncd" "$link"; }
}

# What somebody changed on this system stays, unless that somebody installs something else.
put_settings() {
    (cd "$new/settings/settings" && find . -type f) >"$new/list"
    while read -r file; do
        file=${file#./}
        if [ ! -e "/$file" ]; then
            put settings "$file"
        elif [ "$mode" = install ] && ! cmp -s "$new/settings/settings/$file" "/$file"; then
            cp -p "/$file" "/$file.old" && put settings "$file" && changed=1
            say "/$file is another one now; what it was is in /$file.old"
        fi
    done <"$new/list"
}

put_units() {
    (cd "$new/settings/units" && find . -type f) >"$new/list"
    while read -r file; do
        file=${file#./}
        case $file in *.mount)
            # Somebody else sees to it: fstab, or a unit that was not written here.
            ! grep -Eqs "^[^#]+[[:space:]]$mount_point[[:space:]]" /etc/fstab || continue
            [ ! -e "/$file" ] || grep -qsF "$mark" "/$file" || continue
            ;;
        esac
        cmp -s "$new/settings/units/$file" "/$file" || { put units "$file" && changed=1; }
    done <"$new/list"
}

start_units() {
    systemd-sysusers zimage-syncd.conf 2>/dev/null || say "systemd-sysusers failed: there is no group zimage-syncd"
    systemd-tmpfiles --create zimage-syncd.conf 2>/dev/null
    systemctl daemon-reload || stop "systemctl daemon-reload failed"
    if [ -n "$mount_unit" ] && [ -e "/etc/systemd/system/$mount_unit" ]; then
        systemctl --quiet enable "$mount_unit"
        # A start that waits for a disk would let the daemon wait.
        [ ! -e "$(sed -n 's/^What=//p' "/etc/systemd/system/$mount_unit")" ] || systemctl start --no-block "$mount_unit"
    fi
    systemctl --quiet enable zimage-syncd.service || stop "the unit cannot be enabled"
    verb=start
    [ -z "$changed" ] || verb=restart
    # At a start of the machine the unit waits for others that wait for this script.
    if [ "$mode" = install ]; then
        systemctl "$verb" zimage-syncd.service || stop "the unit does not start: journalctl -u zimage-syncd says why"
    else
        systemctl "$verb" --no-block zimage-syncd.service || stop "the unit cannot be started"
    fi
}

# Whether a process runs from below a directory.
runs_from() {
    case $(readlink "/proc/${1:-none}/exe") in "$2"/*) return 0 ;; esac
    return 1
}

# Without systemd, in a session of its own; another version's is ended before.
start_in_background() {
    pid=$(cat "$pid_file" 2>/dev/null)
    if runs_from "$pid" "$home"; then
        say "it runs already: process $pid"
        return
    fi
    tries=30
    ! runs_from "$pid" "$homes" || kill "$pid"
    while runs_from "$pid" "$homes" && [ "$tries" -gt 0 ]; do
        sleep 1
        tries=$((tries - 1))
    done
    (
        set -a
        # shellcheck source=/dev/null
        [ ! -f /etc/zimage-syncd/environment ] || . /etc/zimage-syncd/environment
        exec setsid "$home/bin/zimage-syncd" run
    ) </dev/null >>"$log" 2>&1 &
    pid=$!
    echo "$pid" >"$pid_file"
    # Until it is no shell any more: whoever runs the line again finds it.
    while ! runs_from "$pid" "$home" && kill -0 "$pid" 2>/dev/null; do sleep 0.1; done
    say "there is no systemd: it runs as process $pid, and its log is $log"
}

# The older ones are of no use from now on: this one's line is what the machine starts with.
remember_use() {
    touch "$here/used" 2>/dev/null || return
    for version in "${here%/*}"/[0-9]*; do
        [ "$version" != "$here" ] || break
        rm -rf "$version"
    done
}

[ "$(id -u)" = 0 ] || stop "this needs root"
[ "$(uname -m)" = "$machine" ] || stop "the program was installed for $machine, and this is $(uname -m)"
grep -qsF "\"$cache_id\"" "$disk/$identity" || stop "the disk at $disk does not belong to the cache $cache_id"
# What runs left that were killed; none takes an hour.
find "$homes" -maxdepth 1 -name '.new.*' -mmin +60 -exec rm -rf {} + 2>/dev/null
mkdir -p "$homes" && new=$(mktemp -d "$homes/.new.XXXXXX") || stop "nothing can be written to $homes"
bring_program
if [ "$mode" != prove ]; then
    unpack settings.tar "$settings_sha256" "$new/settings"
    lead_to_disk
    put_settings
    put_link
    if [ -d /run/systemd/system ]; then
        put_units
        start_units
    elif [ "$mode" = boot ]; then
        start_in_background
    fi
    [ "$mode" != boot ] || remember_use
    say "$program is in place"
fi
rm -rf "$new"
