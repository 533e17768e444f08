#!/bin/bash
# Imports an image archive into the containerd store of a node's file tree, unpacked, with the tree's containerd.
# Everything that it mounts or starts ends with its own mount and process namespaces.
# usage: import-images.sh TREE FOLDER   (FOLDER holds images.tar and gets the logs)
set -euo pipefail
export tree=$1 folder=$2
exec unshare --mount --pid --fork --kill-child bash -euc '
  mount --make-rprivate /
  mkdir -p "$tree/tmp" "$tree/mnt"
  mount -t proc proc "$tree/proc"
  mount -t tmpfs tmpfs "$tree/run"
  mount --rbind /dev "$tree/dev"
  mount --bind /sys "$tree/sys"
  mount --bind "$folder" "$tree/mnt"
  chroot "$tree" bash -euc "
    containerd > /mnt/containerd.log 2>&1 &
    for attempt in \$(seq 1 150); do ctr version > /dev/null 2>&1 && break; sleep 0.2; done
    ctr -n k8s.io images import --all-platforms --digests /mnt/images.tar > /mnt/import.log 2>&1 || { cat /mnt/import.log; exit 1; }
    ctr -n k8s.io images list -q
    kill %1; wait %1 || true"
'
