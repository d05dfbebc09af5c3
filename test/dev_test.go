package test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/google/go-cmp/cmp"
)

func TestDev(t *testing.T) {
	d := startDev(t, dataDir(t))
	for path, want := range map[string]os.FileMode{".": 0o700, "admin.env": 0o600, "root.key": 0o600, "audit.log": 0o600} {
		if got := mode(t, filepath.Join(d.dir, path)); got != want {
			t.Errorf("%s has mode %o, want %o", path, got, want)
		}
	}
	if got := value(d.env, "AWS_ENDPOINT_URL"); got != d.url {
		t.Errorf("AWS_ENDPOINT_URL is %q, want %q", got, d.url)
	}
	who, err := sts.NewFromConfig(d.config()).GetCallerIdentity(t.Context(), nil)
	if err != nil || aws.ToString(who.Arn) != "arn:aws:iam::111122223333:user/admin" {
		t.Errorf("the administrator is %+v, %v", who, err)
	}
	// What a shell has from elsewhere must not get in between.
	for name, want := range map[string]string{"AWS_SESSION_TOKEN": "", "AWS_PROFILE": "", "AWS_ENDPOINT_URL_S3": "", "AWS_REGION": "us-west-2"} {
		if got := value(source(t, environment(t, name+"=other"), filepath.Join(d.dir, "admin.env")), name); got != want {
			t.Errorf("%s is %q after sourcing admin.env, want %q", name, got, want)
		}
	}
	if code := d.stop(t, syscall.SIGINT); code != 0 || d.stderr.String() != "" {
		t.Errorf("exit code %d, stderr %q; want 0 and nothing", code, d.stderr.String())
	}
}

func TestDevFlags(t *testing.T) {
	d := startDev(t, filepath.Join(t.TempDir(), "it's a state"), "--region", "eu-central-1", "--account-id", "444455556666", "--log-level", "info")
	cluster, err := eks.NewFromConfig(d.config()).DescribeCluster(t.Context(), &eks.DescribeClusterInput{Name: aws.String("local")})
	if err != nil || aws.ToString(cluster.Cluster.Arn) != "arn:aws:eks:eu-central-1:444455556666:cluster/local" {
		t.Errorf("the cluster is %+v, %v", cluster, err)
	}
	// The line that the banner tells the reader to type works as it stands.
	_, rest, _ := strings.Cut(d.stdout.String(), "In another shell:\n\n")
	typed, _, _ := strings.Cut(rest, "\n")
	shell := run(t, environment(t), "", "/bin/sh", "-euc", typed+"\necho $AWS_ACCESS_KEY_ID")
	if got, want := strings.TrimSpace(shell.stdout), value(d.env, "AWS_ACCESS_KEY_ID"); got != want {
		t.Errorf("after %q the key is %q (%s), want %q", typed, got, shell.stderr, want)
	}
	if code := d.stop(t, syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	log := d.stderr.String()
	if !strings.Contains(log, "operation=DescribeCluster") {
		t.Errorf("no line for the request in the log: %s", log)
	}
	for _, bad := range []string{"level=WARN", "level=ERROR", value(d.env, "AWS_SECRET_ACCESS_KEY")} {
		if strings.Contains(log, bad) {
			t.Errorf("%q is in the log: %s", bad, log)
		}
	}
}

// A state that was left by a kill is as good as one that was closed, down to the last write that was answered.
func TestDevKeepsItsState(t *testing.T) {
	dir := dataDir(t)
	d := startDev(t, dir)
	key := value(d.env, "AWS_ACCESS_KEY_ID") + value(d.env, "AWS_SECRET_ACCESS_KEY")
	id := d.associate(t, "carts", d.createRole(t, "carts"))
	put(t, d, "kept.md", "kept")
	if code := d.stop(t, syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}

	d = startDev(t, dir)
	if got := value(d.env, "AWS_ACCESS_KEY_ID") + value(d.env, "AWS_SECRET_ACCESS_KEY"); got != key {
		t.Error("the administrator has another key after a restart")
	}
	var acknowledged []string
	client := iam.NewFromConfig(d.config(), func(o *iam.Options) { o.RetryMaxAttempts = 1 })
	killed := make(chan struct{})
	for i := range 1000 {
		name := fmt.Sprint("role-", i)
		trust := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"pods.eks.amazonaws.com"},"Action":"sts:AssumeRole"}]}`
		if _, err := client.CreateRole(t.Context(), &iam.CreateRoleInput{RoleName: &name, AssumeRolePolicyDocument: &trust}); err != nil {
			break
		}
		acknowledged = append(acknowledged, name)
		if i == 10 {
			put(t, d, "last.md", "last")
			go func() {
				_ = d.cmd.Process.Kill()
				close(killed)
			}()
		}
	}
	<-killed
	d.wait(t)
	if len(acknowledged) == 1000 {
		t.Error("it was not killed while it wrote")
	}

	d = startDev(t, dir)
	checkState(t, d, id, acknowledged)
	if code := d.stop(t, syscall.SIGINT); code != 0 || d.stderr.String() != "" {
		t.Errorf("exit code %d, stderr %q; want 0 and nothing", code, d.stderr.String())
	}
}

// An administrator who was deleted is made anew at the next start, and the node agent's role trusts the new one.
func TestDevWithAnotherAdministrator(t *testing.T) {
	dir := dataDir(t)
	d := startDev(t, dir)
	assume := func(d *devServer, role string) (aws.Config, error) {
		cfg := d.config()
		out, err := sts.NewFromConfig(cfg).AssumeRole(t.Context(), &sts.AssumeRoleInput{
			RoleArn: aws.String("arn:aws:iam::111122223333:role/" + role), RoleSessionName: aws.String("test"),
		})
		if err != nil {
			return cfg, err
		}
		c := out.Credentials
		cfg.Credentials = credentials.NewStaticCredentialsProvider(*c.AccessKeyId, *c.SecretAccessKey, *c.SessionToken)
		return cfg, nil
	}
	trust := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"111122223333"},"Action":"sts:AssumeRole"}]}`
	all := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`
	client, admin, helper := iam.NewFromConfig(d.config()), aws.String("admin"), aws.String("helper")
	if _, err := client.CreateRole(t.Context(), &iam.CreateRoleInput{RoleName: helper, AssumeRolePolicyDocument: &trust}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.PutRolePolicy(t.Context(), &iam.PutRolePolicyInput{RoleName: helper, PolicyName: helper, PolicyDocument: &all}); err != nil {
		t.Fatal(err)
	}
	cfg, err := assume(d, "helper")
	if err != nil {
		t.Fatal(err)
	}
	client = iam.NewFromConfig(cfg)
	key := value(d.env, "AWS_ACCESS_KEY_ID")
	_, errKey := client.DeleteAccessKey(t.Context(), &iam.DeleteAccessKeyInput{UserName: admin, AccessKeyId: &key})
	_, errPolicy := client.DeleteUserPolicy(t.Context(), &iam.DeleteUserPolicyInput{UserName: admin, PolicyName: aws.String("AdministratorAccess")})
	_, errUser := client.DeleteUser(t.Context(), &iam.DeleteUserInput{UserName: admin})
	if err := errors.Join(errKey, errPolicy, errUser); err != nil {
		t.Fatal(err)
	}
	d.stop(t, syscall.SIGTERM)

	for range 2 {
		d = startDev(t, dir)
		if _, err := assume(d, "podid-local-node"); err != nil {
			t.Errorf("the role of the node agent: %v", err)
		}
		d.stop(t, syscall.SIGTERM)
	}
}

func put(t *testing.T, d *devServer, key, text string) {
	t.Helper()
	_, err := d.s3().PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("demo"), Key: &key, Body: strings.NewReader(text)})
	if err != nil {
		t.Fatal(err)
	}
}

func checkState(t *testing.T, d *devServer, association string, roles []string) {
	t.Helper()
	client := iam.NewFromConfig(d.config())
	for _, name := range append(roles, "carts") {
		if _, err := client.GetRole(t.Context(), &iam.GetRoleInput{RoleName: &name}); err != nil {
			t.Errorf("role %s: %v", name, err)
		}
	}
	_, err := eks.NewFromConfig(d.config()).DescribePodIdentityAssociation(t.Context(), &eks.DescribePodIdentityAssociationInput{
		ClusterName: aws.String("local"), AssociationId: &association,
	})
	if err != nil {
		t.Errorf("association: %v", err)
	}
	got := map[string]string{}
	for _, key := range []string{"kept.md", "last.md"} {
		out, err := d.s3().GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("demo"), Key: &key})
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(out.Body)
		if err != nil {
			t.Fatal(err)
		}
		got[key] = string(body)
	}
	if diff := cmp.Diff(map[string]string{"kept.md": "kept", "last.md": "last"}, got); diff != "" {
		t.Errorf("objects (-want +got):\n%s", diff)
	}
}

// What cannot work is said in one line, and changes nothing.
func TestDevRefuses(t *testing.T) {
	d := startDev(t, dataDir(t))
	address := strings.TrimPrefix(d.url, "http://")
	agentAddress := strings.TrimPrefix(d.agentURL, "http://")
	file := writeFile(t, filepath.Join(t.TempDir(), "file"), "", 0o600)
	for name, test := range map[string]struct {
		args  []string
		wants []string
	}{
		"directory in use":   {[]string{"--data-dir", d.dir}, []string{d.dir, "in use by another podid", "--data-dir"}},
		"port in use":        {[]string{"--listen", address}, []string{address, "address already in use", "--listen"}},
		"agent port in use":  {[]string{"--agent-listen", agentAddress}, []string{agentAddress, "address already in use", "--agent-listen"}},
		"all interfaces":     {[]string{"--listen", "0.0.0.0:0"}, []string{"0.0.0.0:0", "loopback"}},
		"agent everywhere":   {[]string{"--agent-listen", "192.0.2.1:0"}, []string{"192.0.2.1", "loopback"}},
		"agent by name":      {[]string{"--agent-listen", "localhost:0"}, []string{"localhost", "IP address"}},
		"no port":            {[]string{"--listen", "127.0.0.1"}, []string{"127.0.0.1", "port"}},
		"account":            {[]string{"--account-id", "12"}, []string{`"12"`, "twelve digits"}},
		"no region":          {[]string{"--region", ""}, []string{"region"}},
		"log level":          {[]string{"--log-level", "loud"}, []string{`"loud"`, "debug"}},
		"file for directory": {[]string{"--data-dir", file}, []string{file, "not a directory"}},
		"unknown flag":       {[]string{"--port", "1"}, []string{"unknown flag: --port"}},
		"argument":           {[]string{"now"}, []string{`"now"`}},
	} {
		t.Run(name, func(t *testing.T) {
			unused := dataDir(t)
			args := []string{"dev", "--data-dir", unused, "--listen", "127.0.0.1:0", "--agent-listen", "127.0.0.1:0"}
			run(t, environment(t), "", "podid", append(args, test.args...)...).line(t, test.wants...)
			if _, err := os.Stat(filepath.Join(unused, "admin.env")); err == nil {
				t.Error("admin.env was written")
			}
		})
	}
	who, err := sts.NewFromConfig(d.config()).GetCallerIdentity(t.Context(), nil)
	if err != nil {
		t.Errorf("the first one does not serve any more: %v, %v", who, err)
	}
	if code := d.stop(t, syscall.SIGTERM); code != 0 || d.stderr.String() != "" {
		t.Errorf("exit code %d, stderr %q; want 0 and nothing", code, d.stderr.String())
	}
	for _, other := range [][]string{{"--account-id", "444455556666"}, {"--region", "eu-central-1"}} {
		args := append([]string{"dev", "--data-dir", d.dir, "--listen", "127.0.0.1:0", "--agent-listen", "127.0.0.1:0"}, other...)
		run(t, environment(t), "", "podid", args...).line(t, "local", "111122223333", "us-west-2")
	}
}

// Who has sent half a request is waited for a while, unless the user does not want to.
func TestDevInterruptedTwice(t *testing.T) {
	d := startDev(t, dataDir(t))
	conn, err := net.DialTimeout("tcp", strings.TrimPrefix(d.url, "http://"), patience)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: "); err != nil {
		t.Fatal(err)
	}
	eventually(t, "end", func() error {
		_ = d.cmd.Process.Signal(syscall.SIGINT) // it may have ended
		select {
		case <-d.ended:
			return nil
		default:
			return errors.New("it runs")
		}
	})
	if status := d.cmd.ProcessState.Sys().(syscall.WaitStatus); !status.Signaled() || status.Signal() != syscall.SIGINT {
		t.Errorf("it ended with %v, want the signal", d.cmd.ProcessState)
	}
}
