package kube

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/podid/podid/internal/identity"
)

// What podid knows the Kubernetes as.
const (
	clusterName = "metal"
	region      = "us-west-2"
	accountID   = "111122223333"
)

// podid is a podid dev that runs.
type podid struct {
	url   string
	env   []string   // of the administrator
	admin aws.Config // the same
}

var apiURL = regexp.MustCompile(`APIs and S3 +(http://127\.0\.0\.1:\d+) `)

// startPodid starts a control plane on an empty directory, with variables more.
func startPodid(t testing.TB, env ...string) *podid {
	t.Helper()
	dir, err := os.MkdirTemp("", "podid-") // a short path, since etcd's sockets are in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	dev := start(t, env, "podid", "dev", "--data-dir", dir, "--listen", "127.0.0.1:0", "--agent-listen", "127.0.0.1:0",
		"--region", region, "--account-id", accountID)
	p := &podid{}
	eventually(t, "podid dev", func() error {
		said := dev.stdout.String()
		found := apiURL.FindStringSubmatch(said)
		if found == nil || !strings.Contains(said, "Ctrl-C ends it") {
			return fmt.Errorf("it says %q", said)
		}
		p.url = found[1]
		return nil
	})
	text, err := os.ReadFile(filepath.Join(dir, "admin.env"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if pair, ok := strings.CutPrefix(strings.TrimSpace(line), "export "); ok {
			p.env = append(p.env, pair)
		}
	}
	p.admin = aws.Config{
		Region: region, BaseEndpoint: &p.url, RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider(value(p.env, "AWS_ACCESS_KEY_ID"), value(p.env, "AWS_SECRET_ACCESS_KEY"), ""),
	}
	return p
}

func value(env []string, name string) string {
	for _, pair := range env {
		if v, ok := strings.CutPrefix(pair, name+"="); ok {
			return v
		}
	}
	return ""
}

// register makes the Kubernetes known to the control plane, by default with the keys of its issuer.
func (p *podid) register(t testing.TB, args ...string) {
	t.Helper()
	if len(args) == 0 {
		args = []string{"--kubeconfig", kube.Kubeconfig}
	}
	cmd := exec.CommandContext(t.Context(), filepath.Join(programs, "podid"), append([]string{"cluster", "register", clusterName}, args...)...)
	cmd.Env = p.env
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("podid cluster register: %v\n%s", err, out)
	}
}

// createRole makes a role with a trust policy and no permissions, and returns its ARN.
func (p *podid) createRole(t testing.TB, name, trust string) string {
	t.Helper()
	out, err := iam.NewFromConfig(p.admin).CreateRole(t.Context(), &iam.CreateRoleInput{RoleName: &name, AssumeRolePolicyDocument: &trust})
	if err != nil {
		t.Fatal(err)
	}
	return *out.Role.Arn
}

// podTrust is a trust policy as EKS Pod Identity needs it.
const podTrust = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"pods.eks.amazonaws.com"},` +
	`"Action":["sts:AssumeRole","sts:TagSession"]}]}`

// associate gives a service account a role of its own, of its name.
func (p *podid) associate(t testing.TB, account identity.ServiceAccount) {
	t.Helper()
	role := p.createRole(t, account.Name, podTrust)
	_, err := eks.NewFromConfig(p.admin).CreatePodIdentityAssociation(t.Context(), &eks.CreatePodIdentityAssociationInput{
		ClusterName: aws.String(clusterName), Namespace: &account.Namespace, ServiceAccount: &account.Name, RoleArn: &role,
	})
	if err != nil {
		t.Fatal(err)
	}
}

// startAgent starts the node agent of the Kubernetes on an address and returns where it answers.
func (p *podid) startAgent(t testing.TB, host, port string) string {
	t.Helper()
	probe := freePort(t)
	start(t, p.env, "podid-agent", "server", "--cluster-name", clusterName, "--endpoint", p.url, "--bind-hosts", host, "--port", port,
		"--probe-port", probe, "--metrics-address", "127.0.0.1", "--metrics-port", freePort(t))
	eventually(t, "podid-agent", func() error { return answers("http://localhost:" + probe + "/readyz") })
	return "http://" + net.JoinHostPort(host, port) + "/v1/credentials"
}

// freePort is a port of the loopback interface that nobody listens on at the moment.
func freePort(t testing.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return strconv.Itoa(listener.Addr().(*net.TCPAddr).Port)
}

// answers tells whether a page is answered with 200.
func answers(url string) error {
	resp, err := http.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	return nil
}
