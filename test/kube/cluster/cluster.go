// Package cluster runs a real Kubernetes for tests: an API server, a controller manager and a scheduler, built from their own source, on
// an etcd in this process. Without a node pods are made and admitted, service accounts get tokens, Deployments make their pods, and
// nothing runs. With one, which is a kubelet and a containerd in namespaces of their own, pods run as anywhere.
//
// All is on the loopback interface, with certificates made for this one cluster in a temporary directory.
package cluster

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// Config says where things are.
type Config struct {
	// Root is the directory of the repository. Required.
	Root string
	// Node gives the cluster a node. It works in a process that [Isolate] has started, and takes containerd, runc and the plugins
	// of the Container Network Interface as Debian has them. Pods run there that tolerate [NodeTaint].
	Node bool
	// Say gets a line when something takes long; nil means nothing is said.
	Say io.Writer
}

// NodeTaint is the key of a taint of the node, so that only those pods run of which a test wants it.
const NodeTaint = "podid.example.com/node"

// NodeIP is the node's address besides loopback. Pods reach it, and it reaches pods.
const NodeIP = "10.244.0.1"

// Cluster is a Kubernetes that runs.
type Cluster struct {
	// Admin is a configuration for clients of somebody who may do anything; Client is one of them.
	Admin  *rest.Config
	Client *kubernetes.Clientset
	// Kubeconfig is a file with the same.
	Kubeconfig string
	// Issuer is the iss claim of the tokens of service accounts. It is where the API server is.
	Issuer string
	// CAFile has the certificate, in PEM, that the API server's was issued by.
	CAFile string

	dir       string
	authority *authority
	etcd      *embed.Etcd
	starter   *starter
	processes []*process
}

// patience is how long the cluster may take to become ready, however slow the machine is.
const patience = 3 * time.Minute

// Start builds Kubernetes if need be, starts it, and waits until it can be used. [Cluster.Stop] ends it.
func Start(ctx context.Context, cfg Config) (_ *Cluster, err error) {
	programs, err := Build(ctx, cfg)
	if err != nil {
		return nil, err
	}
	if cfg.Node {
		if err := prepareNode(); err != nil {
			return nil, err
		}
	}
	dir, err := os.MkdirTemp("", "podid-kube-") // a short path, since etcd's socket is in it
	if err != nil {
		return nil, err
	}
	c := &Cluster{dir: dir, CAFile: filepath.Join(dir, "ca.crt"), starter: newStarter()}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Stop())
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := c.writeKeys(); err != nil {
		return nil, fmt.Errorf("making keys and certificates: %w", err)
	}
	if c.etcd, err = startEtcd(ctx, dir); err != nil {
		return nil, fmt.Errorf("starting etcd: %w", err)
	}
	if err := c.startAPIServer(ctx, filepath.Join(programs, "kube-apiserver")); err != nil {
		return nil, err
	}
	if err := c.startControllers(programs); err != nil {
		return nil, err
	}
	if cfg.Node {
		if err := c.startNode(ctx, programs); err != nil {
			return nil, err
		}
	}
	return c, c.waitForServiceAccounts(ctx)
}

// writeKeys writes what the programs read from files: certificates, and the key that tokens of service accounts are signed with.
func (c *Cluster) writeKeys() error {
	var err error
	if c.authority, err = newAuthority(); err != nil {
		return err
	}
	server, err := c.authority.server()
	if err != nil {
		return err
	}
	kubelets, err := c.authority.client("kube-apiserver", "system:masters") // what it shows to kubelets, which ask it who that is
	if err != nil {
		return err
	}
	signing, err := rsa.GenerateKey(rand.Reader, 2048) // the kind that most clusters have
	if err != nil {
		return err
	}
	signingPEM, err := encodeKey(signing)
	if err != nil {
		return err
	}
	for name, text := range map[string][]byte{
		"ca.crt": c.authority.pem, "apiserver.crt": server.certificate, "apiserver.key": server.key,
		"kubelet-client.crt": kubelets.certificate, "kubelet-client.key": kubelets.key, "sa.key": signingPEM,
	} {
		if err := os.WriteFile(filepath.Join(c.dir, name), text, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// waitForServiceAccounts waits until the controller manager works: pods are refused until it has made their namespace's service account.
func (c *Cluster) waitForServiceAccounts(ctx context.Context) error {
	return c.wait(ctx, "the service account of the namespace default", func() error {
		_, err := c.Client.CoreV1().ServiceAccounts(metav1.NamespaceDefault).Get(ctx, "default", metav1.GetOptions{})
		return err
	})
}

// wait tries until there is no error, or a program has ended.
func (c *Cluster) wait(ctx context.Context, what string, try func() error) error {
	for {
		err := try()
		if err == nil {
			return nil
		}
		for _, p := range c.processes {
			if failure := p.failure(); failure != nil {
				return failure
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w: %w", what, ctx.Err(), err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// WriteLogs writes the last lines of all programs' logs.
func (c *Cluster) WriteLogs(w io.Writer) {
	for _, p := range c.processes {
		fmt.Fprintf(w, "--- %s\n%s", p.name, tail(p.log))
	}
	fmt.Fprintf(w, "--- etcd\n%s", tail(filepath.Join(c.dir, etcdLog)))
}

// Stop kills the programs and removes all that they have written.
func (c *Cluster) Stop() error {
	for _, p := range slices.Backward(c.processes) { // each stands on those before it
		p.kill()
	}
	c.starter.close()
	if c.etcd != nil {
		c.etcd.Close()
	}
	return errors.Join(unmount(c.dir), os.RemoveAll(c.dir))
}
