#!/bin/bash
# boot.sh ROOT NAME PIDFILE CGROUP: becomes pid 1 of a lab host whose disk is mounted at ROOT.
#
# It is started inside new namespaces (net, mount, uts, ipc, pid); /proc is still the one outside, and so tells the
# process id by which everybody else knows this process.
set -euo pipefail
root=$1 name=$2 pidfile=$3
read -r pid _ </proc/self/stat
hostname "$name"

mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for device in null zero full random urandom tty; do
  : >"$root/dev/$device"
  mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$root/dev/pts"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
ln -s /proc/self/fd/0 "$root/dev/stdin"
ln -s /proc/self/fd/1 "$root/dev/stdout"
ln -s /proc/self/fd/2 "$root/dev/stderr"
: >"$root/dev/console"

printf '%s' "$pid" >"$pidfile.new"
mv "$pidfile.new" "$pidfile"
cd "$root"
pivot_root . mnt
exec env -i container=lab PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
  chroot . /bin/bash -c 'umount -l /mnt; exec /lib/systemd/systemd --system --show-status=0 --log-target=journal'
