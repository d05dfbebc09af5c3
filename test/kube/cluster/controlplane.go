package cluster

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// attempts is how often the API server may find its port taken by somebody who was faster.
const attempts = 3

// startAPIServer starts the API server on a free port and waits until it is ready.
func (c *Cluster) startAPIServer(ctx context.Context, program string) error {
	for attempt := 1; ; attempt++ {
		port, err := freePort()
		if err != nil {
			return err
		}
		c.Issuer = "https://127.0.0.1:" + strconv.Itoa(port)
		server, err := c.start(program, c.apiServerFlags(port)...)
		if err != nil {
			return err
		}
		if err := c.connect(); err != nil {
			return err
		}
		err = c.wait(ctx, "the API server", func() error {
			return c.Client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error()
		})
		if err == nil || attempt == attempts || !strings.Contains(tail(server.log), "address already in use") {
			return err
		}
		c.processes = nil // it has ended, and it is the first
	}
}

func (c *Cluster) apiServerFlags(port int) []string {
	return []string{
		"--bind-address=127.0.0.1", "--secure-port=" + strconv.Itoa(port),
		// What it would tell pods to reach it at. It must not be on loopback, and no pod of a test calls the API server.
		"--advertise-address=192.0.2.1", "--endpoint-reconciler-type=none",
		"--etcd-servers=unix://" + filepath.Join(c.dir, etcdSocket),
		"--cert-dir=" + c.dir, "--tls-cert-file=apiserver.crt", "--tls-private-key-file=apiserver.key", "--client-ca-file=ca.crt",
		"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
		"--service-cluster-ip-range=10.96.0.0/16",
		"--service-account-issuer=" + c.Issuer, "--service-account-jwks-uri=" + c.Issuer + "/openid/v1/jwks",
		"--kubelet-client-certificate=kubelet-client.crt", "--kubelet-client-key=kubelet-client.key",
		"--kubelet-preferred-address-types=InternalIP",
		"--service-account-signing-key-file=sa.key", "--service-account-key-file=sa.key",
	}
}

// connect makes the administrator, and clients of the API server for it.
func (c *Cluster) connect() (err error) {
	if c.Kubeconfig, err = c.writeKubeconfig("admin", "admin", "system:masters"); err != nil {
		return err
	}
	if c.Admin, err = clientcmd.BuildConfigFromFlags("", c.Kubeconfig); err != nil {
		return err
	}
	c.Admin.QPS = -1 // the limit is for programs that nobody watches
	c.Admin.WarningHandler = rest.NoWarnings{}
	c.Client, err = kubernetes.NewForConfig(c.Admin)
	return err
}

// startControllers starts what makes objects out of other objects.
func (c *Cluster) startControllers(programs string) error {
	manager, err := c.writeKubeconfig("kube-controller-manager", "system:kube-controller-manager")
	if err != nil {
		return err
	}
	scheduler, err := c.writeKubeconfig("kube-scheduler", "system:kube-scheduler")
	if err != nil {
		return err
	}
	// Port 0 is none; there is one of each, so none has to become the leader first.
	_, err = c.start(filepath.Join(programs, "kube-controller-manager"), "--kubeconfig="+manager, "--secure-port=0", "--leader-elect=false",
		"--use-service-account-credentials", "--service-account-private-key-file=sa.key", "--root-ca-file=ca.crt")
	if err != nil {
		return err
	}
	_, err = c.start(filepath.Join(programs, "kube-scheduler"), "--kubeconfig="+scheduler, "--secure-port=0", "--leader-elect=false")
	return err
}

// writeKubeconfig issues a certificate for a user and writes a configuration with it, whose name it returns.
func (c *Cluster) writeKubeconfig(name, user string, groups ...string) (string, error) {
	client, err := c.authority.client(user, groups...)
	if err != nil {
		return "", err
	}
	const only = "test"
	cfg := clientcmdapi.NewConfig()
	cfg.Clusters[only] = &clientcmdapi.Cluster{Server: c.Issuer, CertificateAuthorityData: c.authority.pem}
	cfg.AuthInfos[only] = &clientcmdapi.AuthInfo{ClientCertificateData: client.certificate, ClientKeyData: client.key}
	cfg.Contexts[only] = &clientcmdapi.Context{Cluster: only, AuthInfo: only}
	cfg.CurrentContext = only
	path := filepath.Join(c.dir, name+".kubeconfig")
	return path, clientcmd.WriteToFile(*cfg, path)
}

// freePort is a port of the loopback interface that nobody listens on at the moment.
func freePort() (int, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("looking for a free port: %w", err)
	}
	return listener.Addr().(*net.TCPAddr).Port, listener.Close()
}
