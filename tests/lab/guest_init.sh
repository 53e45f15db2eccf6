#!/usr/bin/busybox sh
# The first process of a machine of the lab (tests/lab/machines.py). It starts on the root of the machine that the lab
# runs on, read only; puts a writable layer of memory and the lab's own programs over it; plays its role; and then obeys
# commands that come over a serial line, so that a machine with no network still can be asked.
# The word LAB_HOME of the kernel's command line names the directory that it shares with the lab.
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
BUSYBOX=/usr/bin/busybox

give_up() {
    echo "lab: $1"
    $BUSYBOX poweroff -f
}

layered_root() {
    $BUSYBOX mount -t proc proc /proc
    $BUSYBOX mount -t tmpfs -o size=60% tmpfs /mnt || give_up "no tmpfs"
    $BUSYBOX mkdir /mnt/upper /mnt/work /mnt/root /mnt/lab /mnt/tools
    $BUSYBOX mount -t hostfs -o "$LAB_HOME" none /mnt/lab || give_up "no $LAB_HOME"
    . /mnt/lab/settings
    $BUSYBOX mount -t hostfs -o "$TOOLS" none /mnt/tools || give_up "no $TOOLS"
    $BUSYBOX grep -q overlay /proc/filesystems || $BUSYBOX insmod "$MODULES/kernel/fs/overlayfs/overlay.ko"
    $BUSYBOX mount -t overlay -o "lowerdir=/mnt/tools:/,upperdir=/mnt/upper,workdir=/mnt/work" overlay /mnt/root ||
        give_up "no layered root"
    cd /mnt/root || give_up "no layered root"
    $BUSYBOX mkdir -p lab mnt/below share disk
    $BUSYBOX mount --move /mnt/lab lab
    $BUSYBOX umount /proc
    $BUSYBOX pivot_root . mnt/below || give_up "pivot_root failed"
    exec $BUSYBOX chroot . $BUSYBOX sh "$0" layered </dev/console >/dev/console 2>&1
}

file_systems() {
    $BUSYBOX mount -t proc proc /proc # until here /proc/self/exe, which busybox starts for a bare name, is not busybox
    $BUSYBOX mount -t sysfs sys /sys
    mount -t devtmpfs dev /dev 2>/dev/null
    mkdir -p /dev/pts /dev/shm
    mount -t devpts -o ptmxmode=666 devpts /dev/pts
    mount -t tmpfs tmpfs /dev/shm
    mount -t tmpfs tmpfs /run
}

identity() {
    hostname "$NAME"
    cat /lab/hosts >/etc/hosts
    cat /lab/machine-id >/etc/machine-id
    ln -sf /proc/mounts /etc/mtab
    for user in _rpc:994 statd:995; do
        grep -q "^${user%:*}:" /etc/passwd || echo "${user%:*}:x:${user#*:}:65534::/var/lib/nfs:/usr/sbin/nologin" >>/etc/passwd
    done
}

network() {
    $BUSYBOX ip link set lo up
    $BUSYBOX ip addr add "$ADDRESS/24" dev vec0
    $BUSYBOX ip link set vec0 up
}

obey() { # a number a line; the command is /lab/<number>.sh, and its answer the number and its status
    stty raw -echo <"$1"
    exec 3<>"$1"
    echo "up $2" >&3
    while read -r number <&3; do
        (
            exec 3>&-
            cd /
            setsid bash "/lab/$number.sh" <"/lab/$number.in" >"/lab/$number.out" 2>"/lab/$number.err"
            echo "$number $?" >"$1"
        ) &
    done
    give_up "the lab is gone"
}

[ "${1:-}" = layered ] || layered_root
. /lab/settings
file_systems
identity
network
echo 4 >/proc/sys/kernel/printk
bash "$ROLE" >/lab/role.log 2>&1
obey /dev/ttyS0 $?
