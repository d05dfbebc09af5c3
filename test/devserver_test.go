package test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/podid/podid/examples"
	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/podrun"
)

// devServer is a podid dev that runs.
type devServer struct {
	*process
	dir, url, agentURL string
	env                []string // of a shell that has sourced admin.env
}

var banner = regexp.MustCompile(`^podid dev is ready\.

  APIs and S3     (http://127\.0\.0\.1:\d+)   .*
  Node agent      (http://127\.0\.0\.1:\d+)   .*
  Administrator   (.*)
`)

// startDev starts podid dev on free ports and waits for its banner.
func startDev(t testing.TB, dir string, args ...string) *devServer {
	t.Helper()
	env := environment(t)
	args = append([]string{"dev", "--data-dir", dir, "--listen", "127.0.0.1:0", "--agent-listen", "127.0.0.1:0"}, args...)
	d := &devServer{process: start(t, env, nil, "podid", args...), dir: dir}
	found := banner.FindStringSubmatch(d.says(t, "Ctrl-C ends it"))
	if found == nil {
		t.Fatalf("the banner is %q", d.stdout.String())
	}
	d.url, d.agentURL = found[1], found[2]
	if want := filepath.Join(dir, "admin.env"); found[3] != want {
		t.Fatalf("the banner names %q, want %q", found[3], want)
	}
	d.env = source(t, env, found[3])
	return d
}

// source returns the environment after a shell has sourced a file.
func source(t testing.TB, env []string, file string) []string {
	t.Helper()
	shell := run(t, env, "", "/bin/sh", "-euc", `. "$1"; env`, "sh", file)
	if shell.code != 0 || shell.stderr != "" {
		t.Fatalf("sourcing %s: %+v", file, shell)
	}
	return strings.Split(strings.TrimSpace(shell.stdout), "\n")
}

// config is the AWS configuration of the environment.
func (d *devServer) config() aws.Config {
	return aws.Config{
		Region: value(d.env, "AWS_REGION"), BaseEndpoint: aws.String(value(d.env, "AWS_ENDPOINT_URL")),
		Credentials: credentials.NewStaticCredentialsProvider(value(d.env, "AWS_ACCESS_KEY_ID"), value(d.env, "AWS_SECRET_ACCESS_KEY"), ""),
	}
}

// createRole makes the role of the example.
func (d *devServer) createRole(t testing.TB, name string) string {
	t.Helper()
	client := iam.NewFromConfig(d.config())
	out, err := client.CreateRole(t.Context(), &iam.CreateRoleInput{RoleName: &name, AssumeRolePolicyDocument: &examples.TrustPolicy})
	if err != nil {
		t.Fatal(err)
	}
	_, err = client.PutRolePolicy(t.Context(), &iam.PutRolePolicyInput{
		RoleName: &name, PolicyName: aws.String("s3"), PolicyDocument: &examples.S3Read,
	})
	if err != nil {
		t.Fatal(err)
	}
	return aws.ToString(out.Role.Arn)
}

// associate gives a service account of the namespace carts a role, and returns the association's id.
func (d *devServer) associate(t testing.TB, account, role string) string {
	t.Helper()
	out, err := eks.NewFromConfig(d.config()).CreatePodIdentityAssociation(t.Context(), &eks.CreatePodIdentityAssociationInput{
		ClusterName: aws.String("local"), Namespace: aws.String("carts"), ServiceAccount: &account, RoleArn: &role,
	})
	if err != nil {
		t.Fatal(err)
	}
	return aws.ToString(out.Association.AssociationId)
}

func (d *devServer) s3() *s3.Client {
	return s3.NewFromConfig(d.config(), func(o *s3.Options) { o.UsePathStyle = true })
}

// token is a service-account token of the cluster local, as a pod of the namespace carts would have it.
func (d *devServer) token(t testing.TB, account string) string {
	t.Helper()
	kube, err := podrun.Connect(t.Context(), d.config(), "local")
	if err != nil {
		t.Fatal(err)
	}
	token, err := kube.Token(t.Context(), identity.ServiceAccount{Namespace: "carts", Name: account}, podrun.TokenRequest{
		Audience: identity.PodIdentityAudience, ExpirationSeconds: 3600, PodName: account + "-0", PodUID: "5a20f883-0000-4000-8000-000000000000",
	})
	if err != nil {
		t.Fatal(err)
	}
	return token.Value.Reveal()
}

// dataDir is one that does not exist yet.
func dataDir(t testing.TB) string {
	t.Helper()
	return filepath.Join(t.TempDir(), "state")
}

func mode(t testing.TB, path string) os.FileMode {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode().Perm()
}
