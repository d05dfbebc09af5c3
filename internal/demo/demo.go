// Package demo tells how a pod comes by its credentials, step by step, on a podid that it starts for the purpose: the AWS SDK for Go
// as every client, a real application as the pod. Each step says what it expects and fails if that is not what happens.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/podid/podid/examples"
	"github.com/podid/podid/internal/dev"
	"github.com/podid/podid/internal/podrun"
)

const (
	accountID = "111122223333"
	region    = "us-west-2"
	roleName  = "carts"
	namespace = "carts"
	account   = "carts" // the service account
	bucket    = "demo"
)

// Config says how the demonstration runs.
type Config struct {
	App     string    // program of the pod: the example application list-files
	Environ []string  // of the caller
	JSON    bool      // print one JSON object a step, not text for people
	Color   bool      // use colours in text
	Out     io.Writer // where the steps are printed
	Now     func() time.Time
}

// story is the demonstration under way.
type story struct {
	cfg    Config
	report *report
	dir    string
	dev    *dev.Dev
	iam    *iam.Client
	eks    *eks.Client
	kube   *podrun.Kube
	pod    podrun.Pod
	role   string // its ARN
}

// step is a part of the story. run does it and tells what it called and what it found; an error means that the story does not hold.
type step struct {
	mark, title string
	run         func(context.Context, *telling) error
}

// Run tells the whole story, and returns an error if any step did not go as it should; the steps after that one are left out.
func Run(ctx context.Context, cfg Config) (err error) {
	dir, err := os.MkdirTemp("", "podid-demo-")
	if err != nil {
		return err
	}
	s := &story{cfg: cfg, report: newReport(cfg), dir: dir}
	defer func() {
		if s.dev != nil {
			err = errors.Join(err, s.dev.Close())
		}
		err = errors.Join(err, os.RemoveAll(dir))
	}()
	for _, step := range s.steps() {
		if err := s.report.tell(ctx, step); err != nil {
			return err
		}
	}
	return s.report.end()
}

func (s *story) steps() []step {
	return []step{
		{"", "Start the control plane with an embedded etcd, the cluster local, the node agent and S3", s.start},
		{"①", "Create the IAM role with its trust policy and permission to read the bucket", s.createRole},
		{"", "Run the application before there is an association: it finds no credentials", s.runBefore},
		{"②", "Associate the service account with the role", s.associate},
		{"③", "Create the pod: the webhook adds what the SDK needs", s.admit},
		{"④⑤", "Run the application as the pod: it gets credentials and lists the files", s.runAfter},
		{"", "Ask who the pod is", s.whoAmI},
		{"", "Least privilege: another service account of the same node gets nothing", s.otherAccount},
		{"", "Least privilege: the pod may read, and nothing else", s.putObject},
		{"", "Session tags: a policy that asks for the namespace decides", s.sessionTags},
	}
}

func (s *story) start(ctx context.Context, t *telling) error {
	t.called("podid dev --data-dir <new> --listen 127.0.0.1:0 --agent-listen 127.0.0.1:0")
	d, err := dev.Start(ctx, dev.Config{
		Listen: "127.0.0.1:0", AgentListen: "127.0.0.1:0", DataDir: filepath.Join(s.dir, "data"),
		Region: region, AccountID: accountID, UnsafeNoSync: true, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return err
	}
	s.dev = d
	s.iam, s.eks = iam.NewFromConfig(d.Admin()), eks.NewFromConfig(d.Admin())
	if s.kube, err = podrun.Connect(ctx, d.Admin(), dev.ClusterName); err != nil {
		return err
	}
	t.found("APIs and S3 at %s, node agent at %s, bucket %s with test-file-1.md and test-file-2.md", d.URL(), d.AgentURL(), bucket)
	s.pod, err = podrun.Load(examples.Pod, "")
	return err
}

func (s *story) createRole(ctx context.Context, t *telling) error {
	t.called("iam:CreateRole %s, trusting pods.eks.amazonaws.com with sts:AssumeRole and sts:TagSession", roleName)
	out, err := s.iam.CreateRole(ctx, &iam.CreateRoleInput{RoleName: aws.String(roleName), AssumeRolePolicyDocument: &examples.TrustPolicy})
	if err != nil {
		return err
	}
	s.role = aws.ToString(out.Role.Arn)
	t.found("%s", s.role)
	return s.setPolicy(ctx, t, examples.S3Read, "s3:ListBucket and s3:GetObject on "+bucket)
}

func (s *story) setPolicy(ctx context.Context, t *telling, document, what string) error {
	t.called("iam:PutRolePolicy s3: %s", what)
	_, err := s.iam.PutRolePolicy(ctx, &iam.PutRolePolicyInput{
		RoleName: aws.String(roleName), PolicyName: aws.String("s3"), PolicyDocument: aws.String(document),
	})
	return err
}

func (s *story) associate(ctx context.Context, t *telling) error {
	t.called("eks:CreatePodIdentityAssociation %s: %s/%s → %s", dev.ClusterName, namespace, account, roleName)
	out, err := s.eks.CreatePodIdentityAssociation(ctx, &eks.CreatePodIdentityAssociationInput{
		ClusterName: aws.String(dev.ClusterName), Namespace: aws.String(namespace), ServiceAccount: aws.String(account), RoleArn: &s.role,
	})
	if err != nil {
		return err
	}
	t.found("%s", aws.ToString(out.Association.AssociationArn))
	return nil
}

// expect is how a step says that something is not as it should be.
func expect(ok bool, format string, args ...any) error {
	if ok {
		return nil
	}
	return fmt.Errorf(format, args...)
}
