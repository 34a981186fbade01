#!/bin/bash
# A machine of its own for systemd, without its own network: the root of this machine below a layer in memory,
# namespaces for processes, mounts, names and control groups.
#
#   systemd.sh DIRECTORY NAME
#
# DIRECTORY has `berth` (the program), `berth.service`, `etc` (for /etc/berth), `data` (for /var/lib/berth),
# `cache` (for /var/cache/berth), `root` (empty), and the socket `notify`, to which systemd says that it has started.
# NAME is the control group's, in every hierarchy. Killing this process ends everything in it.
set -euo pipefail
directory=$1 name=$2

hierarchies() { findmnt -rn -t cgroup,cgroup2 -o TARGET,FSTYPE,FS-OPTIONS; }

if [ "${3:-}" != inside ]; then
    while read -r target kind _; do
        mkdir -p "$target/$name"
        if [ -e "$target/$name/cpuset.cpus" ] && [ "$kind" = cgroup ]; then
            cat "$target/cpuset.cpus" > "$target/$name/cpuset.cpus"
            cat "$target/cpuset.mems" > "$target/$name/cpuset.mems"
        fi
        echo $$ > "$target/$name/cgroup.procs"
    done < <(hierarchies)
    exec unshare --pid --fork --kill-child=KILL --mount --cgroup --uts --ipc \
        bash "$0" "$directory" "$name" inside
fi

mount --make-rprivate /
memory=$directory/root
mount -t tmpfs -o mode=755 tmpfs "$memory"
mkdir "$memory"/{upper,work,merged}
root=$memory/merged
mount -t overlay -o "lowerdir=/,upperdir=$memory/upper,workdir=$memory/work" overlay "$root"
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
mount --bind /dev "$root/dev"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$root/dev/pts"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount --bind /tmp "$root/tmp"
case $directory in /tmp/*) ;; *) mount --bind "$directory" "$root/$directory" ;; esac
mkdir -p "$root"/var/{lib,cache}/berth "$root/etc/berth" "$root/etc/systemd/system"
mount --bind "$directory/data" "$root/var/lib/berth"
mount --bind "$directory/cache" "$root/var/cache/berth"
mount --bind "$directory/etc" "$root/etc/berth"
cp "$directory/berth" "$root/usr/local/bin/berth"

grep -q cgroup2 <(findmnt -rn -o FSTYPE /sys/fs/cgroup) || mount -t tmpfs -o mode=755 tmpfs "$root/sys/fs/cgroup"
while read -r target kind options; do
    [ -d "$root$target" ] || mkdir "$root$target"
    options=$(tr , '\n' <<< "$options" | grep -v -x -e rw -e ro -e xattr | paste -sd,) || true
    case $options in name=*) options=none,$options ;; esac
    mount -t "$kind" ${options:+-o "$options"} cgroup "$root$target"
done < <(hierarchies)

# Nothing of this machine's services, which would change it: a journal, and Berth.
units=$root/etc/systemd/system
rm -rf "$units"/* "$root"/lib/systemd/system/*.wants "$root"/run/systemd
mkdir "$units/sysinit.target.wants"
ln -s /lib/systemd/system/systemd-journald.service "$units/sysinit.target.wants/"
cp "$directory/berth.service" "$units/berth.service"
rm -f "$root/etc/fstab" "$root/etc/machine-id"
echo "$name" | md5sum | cut -c1-32 > "$root/etc/machine-id"
mkdir -p "$root/var/log/journal" && mount -t tmpfs tmpfs "$root/var/log/journal"

hostname "$name"
cd "$root"
mkdir -p .outside
pivot_root . .outside
umount -l /.outside
exec env -i container=berth-test PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    NOTIFY_SOCKET="$directory/notify" /lib/systemd/systemd --system --unit=basic.target --show-status=0
