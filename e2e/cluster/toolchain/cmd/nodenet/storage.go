package main

// A host-path provisioner in the same daemon: claims of the class's provisioner that the scheduler
// has placed on this node get a directory on this node. No helper Pod, so no image with a shell.

import (
	"context"
	"log"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

const (
	provisioner = "csps.io/hostpath"
	volRoot     = "/var/local-path-provisioner"
)

func storage(ctx context.Context, cs kubernetes.Interface, me string) error {
	cached := metav1.ListOptions{ResourceVersion: "0"}
	pvcs, err := cs.CoreV1().PersistentVolumeClaims("").List(ctx, cached)
	if err != nil {
		return err
	}
	for i := range pvcs.Items {
		c := &pvcs.Items[i]
		a := c.Annotations
		if c.Status.Phase != corev1.ClaimPending || c.Spec.VolumeName != "" || a["volume.kubernetes.io/selected-node"] != me ||
			a["volume.kubernetes.io/storage-provisioner"] != provisioner || c.Spec.StorageClassName == nil {
			continue
		}
		name := "pvc-" + string(c.UID)
		if _, err := cs.CoreV1().PersistentVolumes().Get(ctx, name, metav1.GetOptions{}); err == nil {
			continue
		}
		dir := filepath.Join(volRoot, name)
		if err := os.MkdirAll("/host"+dir, 0o777); err != nil {
			return err
		}
		_ = os.Chmod("/host"+dir, 0o777)
		t := corev1.HostPathDirectoryOrCreate
		pv := &corev1.PersistentVolume{
			ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{"pv.kubernetes.io/provisioned-by": provisioner}},
			Spec: corev1.PersistentVolumeSpec{
				Capacity:                      c.Spec.Resources.Requests,
				AccessModes:                   c.Spec.AccessModes,
				PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimDelete,
				StorageClassName:              *c.Spec.StorageClassName,
				ClaimRef:                      &corev1.ObjectReference{APIVersion: "v1", Kind: "PersistentVolumeClaim", Namespace: c.Namespace, Name: c.Name, UID: c.UID},
				PersistentVolumeSource:        corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: dir, Type: &t}},
				NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
					MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{me}}}}}}},
			},
		}
		if _, err := cs.CoreV1().PersistentVolumes().Create(ctx, pv, metav1.CreateOptions{}); err != nil {
			return err
		}
		log.Printf("volume %s for %s/%s", name, c.Namespace, c.Name)
	}
	pvs, err := cs.CoreV1().PersistentVolumes().List(ctx, cached)
	if err != nil {
		return err
	}
	for i := range pvs.Items {
		v := &pvs.Items[i]
		if v.Annotations["pv.kubernetes.io/provisioned-by"] != provisioner || v.Status.Phase != corev1.VolumeReleased || v.DeletionTimestamp != nil || v.Spec.HostPath == nil {
			continue
		}
		if v.Spec.NodeAffinity.Required.NodeSelectorTerms[0].MatchExpressions[0].Values[0] != me || filepath.Dir(v.Spec.HostPath.Path) != volRoot {
			continue
		}
		if err := os.RemoveAll("/host" + v.Spec.HostPath.Path); err != nil {
			return err
		}
		if err := cs.CoreV1().PersistentVolumes().Delete(ctx, v.Name, metav1.DeleteOptions{}); err != nil {
			return err
		}
		log.Printf("volume %s removed", v.Name)
	}
	return nil
}
