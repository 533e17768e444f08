#!/bin/bash
# Turns a Debian tree into the file tree of a kind node: kind's own files, the Kubernetes programs, the network
# and storage manifests that `kind create` applies, and a systemd that starts only what a node needs.
# usage: finish-node-tree.sh TREE KIND_FILES BINARIES MANIFESTS VERSION
set -euo pipefail
tree=$1 kind_files=$2 binaries=$3 manifests=$4 version=$5

cp -r --no-preserve=mode "$kind_files/." "$tree/"
chmod 755 "$tree"/usr/local/bin/* "$tree/kind/bin" "$tree"/kind/bin/*
for program in containerd ctr containerd-shim-runc-v2; do ln -sf "/usr/bin/$program" "$tree/usr/local/bin/$program"; done
mkdir -p "$tree/opt/cni/bin" "$tree/etc/kubernetes/manifests" "$tree/kind/manifests" "$tree/etc/cni/net.d" "$tree/lib/modules"
for plugin in host-local loopback ptp portmap bridge; do ln -sf "/usr/lib/cni/$plugin" "$tree/opt/cni/bin/$plugin"; done

# A negative oom_score_adj needs CAP_SYS_RESOURCE, which the machine may lack: clamp it, as kind does when rootless.
sed -i 's/restrict_oom_score_adj = false/restrict_oom_score_adj = true/' "$tree/etc/containerd/config.toml"

find "$tree/lib/systemd/system/sysinit.target.wants/" -name systemd-tmpfiles-setup.service -delete
rm -f "$tree"/lib/systemd/system/multi-user.target.wants/* "$tree"/etc/systemd/system/*.wants/* \
  "$tree"/lib/systemd/system/local-fs.target.wants/* "$tree"/lib/systemd/system/basic.target.wants/* \
  "$tree"/lib/systemd/system/sockets.target.wants/*udev* "$tree"/lib/systemd/system/sockets.target.wants/*initctl*
echo ReadKMsg=no >> "$tree/etc/systemd/journald.conf"
rm -f "$tree/etc/machine-id" "$tree/etc/hostname"
: > "$tree/etc/machine-id"
ln -sf /lib/systemd/systemd "$tree/sbin/init"
chroot "$tree" systemctl enable kubelet.service containerd.service undo-mount-hacks.service
chroot "$tree" systemctl mask systemd-binfmt.service

for program in kubelet kubeadm kubectl; do install -m 755 "$binaries/$program" "$tree/usr/bin/$program"; done
printf %s "$version" > "$tree/kind/version"
cp "$manifests/network.yaml" "$tree/kind/manifests/default-cni.yaml"
cp "$manifests/storage.yaml" "$tree/kind/manifests/default-storage.yaml"

hook='.hooks.createContainer[.hooks.createContainer | length] |= . + {"path": "/kind/bin/mount-product-files.sh"}'
chroot "$tree" ctr oci spec | chroot "$tree" jq "$hook | del(.process.rlimits)" > "$tree/etc/containerd/cri-base.json"
