// nodenet: what a cluster of containers as nodes needs from its network daemon and no more.
// On each node: write the CNI config (ptp + host-local on this node's PodCIDR, portmap), keep a
// route to every other node's PodCIDR through that node's address, and masquerade pod traffic
// that leaves the pod network (nft run in the node's root, mounted at /host).
package main

import (
	"context"
	"fmt"
	"log"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

func nodeIP(n *corev1.Node) net.IP {
	for _, a := range n.Status.Addresses {
		if a.Type == corev1.NodeInternalIP {
			return net.ParseIP(a.Address)
		}
	}
	return nil
}

const cniConf = `{"cniVersion":"0.4.0","name":"kindnet","plugins":[
{"type":"ptp","ipMasq":false,"mtu":1500,"ipam":{"type":"host-local","dataDir":"/run/cni-ipam-state",
 "routes":[{"dst":"0.0.0.0/0"}],"ranges":[[{"subnet":%q}]]}},
{"type":"portmap","capabilities":{"portMappings":true}}]}
`

func masq(podSubnet string) error {
	rules := fmt.Sprintf(`
table ip nodenet
delete table ip nodenet
table ip nodenet {
  chain post {
    type nat hook postrouting priority srcnat; policy accept;
    fib daddr type local return
    ip saddr %[1]s ip daddr != %[1]s masquerade
  }
}
`, podSubnet)
	c := exec.Command("/usr/sbin/nft", "-f", "-")
	c.SysProcAttr = &syscall.SysProcAttr{Chroot: "/host"}
	c.Dir = "/"
	c.Stdin = strings.NewReader(rules)
	out, err := c.CombinedOutput()
	if err != nil {
		return fmt.Errorf("nft: %v: %s", err, out)
	}
	return nil
}

func main() {
	me, podSubnet := os.Getenv("NODE_NAME"), os.Getenv("POD_SUBNET")
	cfg, err := rest.InClusterConfig()
	if err != nil {
		log.Fatal(err)
	}
	if ep := os.Getenv("CONTROL_PLANE_ENDPOINT"); ep != "" { // the ClusterIP is not reachable before kube-proxy is up
		cfg.Host = "https://" + ep
	}
	cs := kubernetes.NewForConfigOrDie(cfg)
	wrote, masqOK := "", false
	for {
		l, err := cs.CoreV1().Nodes().List(context.Background(), metav1.ListOptions{ResourceVersion: "0"})
		if err != nil {
			log.Print(err)
			time.Sleep(time.Second)
			continue
		}
		if !masqOK {
			if err := masq(podSubnet); err != nil {
				log.Print(err)
			} else {
				masqOK = true
			}
		}
		for i := range l.Items {
			n := &l.Items[i]
			if n.Spec.PodCIDR == "" {
				continue
			}
			if n.Name == me {
				if wrote != n.Spec.PodCIDR {
					tmp := "/etc/cni/net.d/.10-kindnet.tmp"
					if err := os.WriteFile(tmp, []byte(fmt.Sprintf(cniConf, n.Spec.PodCIDR)), 0o644); err == nil {
						err = os.Rename(tmp, "/etc/cni/net.d/10-kindnet.conflist")
						log.Printf("cni config for %s written (err=%v)", n.Spec.PodCIDR, err)
						wrote = n.Spec.PodCIDR
					} else {
						log.Print(err)
					}
				}
				continue
			}
			_, dst, err := net.ParseCIDR(n.Spec.PodCIDR)
			if ip := nodeIP(n); err == nil && ip != nil {
				if err := netlink.RouteReplace(&netlink.Route{Dst: dst, Gw: ip}); err != nil {
					log.Printf("route %s via %s: %v", dst, ip, err)
				}
			}
		}
		if err := storage(context.Background(), cs, me); err != nil {
			log.Print("storage: ", err)
		}
		time.Sleep(time.Second)
	}
}
