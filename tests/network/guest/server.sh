#!/bin/sh
# Makes this machine the file server: an ext4 disk, exported by knfsd (3, 4.0, 4.1, 4.2) and by samba. Can be run again.
# LEASE and GRACE, in seconds, are the NFS server's own; 90 each by default in Linux.
set -e
modprobe -a nfsd ext4 loop
mounted() { grep -q " $1 " /proc/mounts; }
mounted /export || mount -t ext4 /dev/vdb /export
mkdir -p /export/nfs /export/smb /export/seconds
chmod 777 /export/nfs /export/smb
# Inodes of 128 bytes have no room for parts of a second.
[ -e /export/seconds.img ] || {
    truncate -s 64M /export/seconds.img
    mkfs.ext4 -q -I 128 /export/seconds.img 2>/dev/null
}
mounted /export/seconds || mount -o loop /export/seconds.img /export/seconds

mounted /proc/fs/nfsd || mount -t nfsd nfsd /proc/fs/nfsd
# What the NFS server remembers of its clients must outlive it, so that they can reclaim their locks after a restart.
mkdir -p /export/state /var/lib/nfs/rpc_pipefs
mounted /var/lib/nfs/nfsdcld || { mkdir -p /var/lib/nfs/nfsdcld /export/state/nfsdcld && mount --bind /export/state/nfsdcld /var/lib/nfs/nfsdcld; }
mounted /var/lib/nfs/rpc_pipefs || mount -t rpc_pipefs pipefs /var/lib/nfs/rpc_pipefs
cat >/etc/exports <<X
/export         *(rw,sync,no_root_squash,no_subtree_check,fsid=0,insecure)
/export/nfs     *(rw,sync,no_root_squash,no_subtree_check,fsid=11,insecure)
/export/seconds *(rw,sync,no_root_squash,no_subtree_check,fsid=12,insecure)
X
running() { pgrep -x "$1" >/dev/null; }
running rpcbind || rpcbind -w
running rpc.statd || rpc.statd --no-notify
running nfsdcld || nfsdcld
exportfs -ra
echo "$GRACE" >/proc/sys/fs/nfs/nlm_grace_period || true
rpc.nfsd --lease-time "$LEASE" --grace-time "$GRACE" 8
running rpc.mountd || rpc.mountd --manage-gids

mkdir -p /var/lib/samba/private /var/log/samba /run/samba /var/cache/samba
cat >/etc/samba/smb.conf <<X
[global]
 server role = standalone server
 load printers = no
 disable spoolss = yes
 disable netbios = yes
 smb ports = 445
 log level = 0
[smb]
 path = /export/smb
 read only = no
 force user = root
X
pdbedit -L 2>/dev/null | grep -q ^root: || printf 'coord\ncoord\n' | smbpasswd -s -a root >/dev/null
running smbd || smbd -D
