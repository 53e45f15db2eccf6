# The role of a node: a disk of its own at /disk, the share at /share. Run by guest_init.sh; with the word `mount`, later,
# only the share is mounted.
set -eux
if [ "${1:-}" != mount ]; then
    modprobe -a nfs nfsv3 nfsv4 lockd
    mount -t ext4 /dev/ubda /disk
    mkdir -p /var/lib/nfs/sm /var/lib/nfs/sm.bak /run/rpcbind
    touch /var/lib/nfs/state
    rpcbind -w
    rpc.statd --no-notify
fi
for _ in $(seq 40); do
    # The NAS starts at the same time; it may not serve yet.
    timeout -s KILL 20 mount.nfs "$NAS:$EXPORT" /share -o "$MOUNT_OPTIONS" && exit 0
    sleep 0.25
done
exit 1
