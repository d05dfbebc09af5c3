package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// nodeName is the node's name.
const nodeName = "node1"

// sandboxImage is of what keeps a pod's namespaces open.
const sandboxImage = "example.com/pause:1"

// startNode starts a container runtime and a kubelet, and waits until the node is ready.
func (c *Cluster) startNode(ctx context.Context, programs string) error {
	if err := c.writeNodeConfiguration(); err != nil {
		return err
	}
	containerd, err := exec.LookPath("containerd")
	if err != nil {
		return fmt.Errorf("a node needs containerd, runc and the network plugins in %s: %w", pluginDir, err)
	}
	if _, err := c.start(containerd, "--config", "containerd.toml"); err != nil {
		return err
	}
	err = c.wait(ctx, "containerd", func() error {
		out, err := c.ctr(ctx, "version").CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w\n%s", err, out)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := c.ImportImage(ctx, Image{Name: sandboxImage, Program: filepath.Join(programs, pause)}); err != nil {
		return err
	}
	kubeconfig, err := c.writeKubeconfig("kubelet", "system:node:"+nodeName, "system:nodes")
	if err != nil {
		return err
	}
	_, err = c.start(filepath.Join(programs, "kubelet"), "--config=kubelet.json", "--kubeconfig="+kubeconfig, "--hostname-override="+nodeName,
		"--root-dir="+filepath.Join(c.dir, "kubelet"), "--cert-dir="+filepath.Join(c.dir, "kubelet-certificates"), "--node-ip="+NodeIP)
	if err != nil {
		return err
	}
	return c.wait(ctx, "the node", func() error {
		node, err := c.Client.CoreV1().Nodes().Get(ctx, nodeName, metav1.GetOptions{})
		if err != nil {
			return err
		}
		ready := slices.ContainsFunc(node.Status.Conditions, func(condition corev1.NodeCondition) bool {
			return condition.Type == corev1.NodeReady && condition.Status == corev1.ConditionTrue
		})
		if !ready {
			return errors.New("it is not ready")
		}
		return nil
	})
}

// ImportImage gives an image to the node.
func (c *Cluster) ImportImage(ctx context.Context, image Image) error {
	archive, err := image.archive()
	if err != nil {
		return fmt.Errorf("making the image %s: %w", image.Name, err)
	}
	cmd := c.ctr(ctx, "images", "import", "-")
	cmd.Stdin = bytes.NewReader(archive)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("importing the image %s: %w\n%s", image.Name, err, out)
	}
	return nil
}

// pluginDir has the network plugins, where Debian puts them.
const pluginDir = "/usr/lib/cni"

// writeNodeConfiguration writes the files that containerd, its network plugins and kubelet are configured by.
func (c *Cluster) writeNodeConfiguration() error {
	networks := filepath.Join(c.dir, "networks")
	if err := os.Mkdir(networks, 0o700); err != nil {
		return err
	}
	return errors.Join(
		c.write("containerd.toml", fmt.Sprintf(containerdConfiguration, c.dir, c.containerdSocket(), sandboxImage, pluginDir, networks)),
		c.write("networks/pods.conflist", fmt.Sprintf(networkConfiguration, bridge, podSubnet)),
		c.write("kubelet.json", fmt.Sprintf(kubeletConfiguration, c.dir, c.containerdSocket(), NodeTaint)),
	)
}

func (c *Cluster) write(name, text string) error {
	return os.WriteFile(filepath.Join(c.dir, name), []byte(text), 0o600)
}

const containerdConfiguration = `version = 2
root = "%[1]s/containerd/root"
state = "%[1]s/containerd/state"
[grpc]
  address = "%[2]s"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "%[3]s"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "%[4]s"
    conf_dir = "%[5]s"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
`

// A pod sends everything to the bridge, on which the node is.
const networkConfiguration = `{
  "cniVersion": "1.0.0",
  "name": "pods",
  "plugins": [{
    "type": "bridge", "bridge": "%[1]s", "isGateway": true,
    "ipam": {"type": "host-local", "ranges": [[{"subnet": "%[2]s"}]], "routes": [{"dst": "0.0.0.0/0"}]}
  }]
}
`

// What is empty, false or nothing here keeps kubelet from managing the machine, which is not its own.
const kubeletConfiguration = `{
  "apiVersion": "kubelet.config.k8s.io/v1beta1",
  "kind": "KubeletConfiguration",
  "authentication": {"anonymous": {"enabled": false}, "webhook": {"enabled": true}, "x509": {"clientCAFile": "%[1]s/ca.crt"}},
  "authorization": {"mode": "Webhook"},
  "cgroupDriver": "cgroupfs",
  "cgroupsPerQOS": false,
  "enforceNodeAllocatable": [],
  "containerRuntimeEndpoint": "unix://%[2]s",
  "evictionHard": {"memory.available": "1Mi", "nodefs.available": "0%%", "imagefs.available": "0%%"},
  "imageGCHighThresholdPercent": 100,
  "failCgroupV1": false,
  "failSwapOn": false,
  "makeIPTablesUtilChains": false,
  "podLogsDir": "%[1]s/pods",
  "registerWithTaints": [{"key": "%[3]s", "effect": "NoSchedule"}],
  "resolvConf": "",
  "volumePluginDir": "%[1]s/volume-plugins"
}
`

func (c *Cluster) containerdSocket() string { return filepath.Join(c.dir, "containerd.sock") }

// ctr is a call of containerd's own client, among the containers of Kubernetes.
func (c *Cluster) ctr(ctx context.Context, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "ctr", append([]string{"--address", c.containerdSocket(), "--namespace", "k8s.io"}, args...)...)
}
