# The role of the NAS: the kernel's NFS server on a disk of its own, versions 3, 4.1 and 4.2. Run by guest_init.sh.
set -eux
modprobe -a nfsd
mkdir -p /srv
mount -t ext4 /dev/ubda /srv
mkdir -p /srv/export /srv/nfs/sm /srv/nfs/sm.bak /srv/nfs/v4recovery /srv/nfs/nfsdcld /srv/nfs/nfsdcltrack
mkdir -p /var/lib/nfs /run/rpc_pipefs /run/rpcbind
mount --bind /srv/nfs /var/lib/nfs # who held what must outlive a crash
touch /var/lib/nfs/etab /var/lib/nfs/rmtab /var/lib/nfs/state
mount -t rpc_pipefs rpc /run/rpc_pipefs
mkdir -p /var/lib/nfs/rpc_pipefs
mount -t rpc_pipefs rpc /var/lib/nfs/rpc_pipefs
mount -t nfsd nfsd /proc/fs/nfsd
echo 1048576 >/proc/fs/nfsd/max_block_size # what a server with more memory offers
echo "$GRACE_S" >/proc/fs/nfsd/nfsv4gracetime
echo "$GRACE_S" >/proc/fs/nfsd/nfsv4leasetime
echo "$GRACE_S" >/proc/sys/fs/nfs/nlm_grace_period || true # of v3 locks, too
echo "/srv/export *(rw,sync,no_subtree_check,no_root_squash,insecure,fsid=0)" >/etc/exports
rpcbind -w
rpc.statd --no-notify
nfsdcld
exportfs -ra
rpc.mountd
rpc.nfsd -V 3 8
sm-notify -f || true # of v3 locks, and nobody locks a file of the share: what it answers does not matter
