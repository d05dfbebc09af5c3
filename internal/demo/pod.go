package demo

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/endpointcreds"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"

	"github.com/podid/podid/internal/dev"
	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/podrun"
)

// startTimeout is how long the application may take to listen and to answer.
const startTimeout = 20 * time.Second

// runApp runs the application as the pod, asks it once, and ends it.
func (s *story) runApp(ctx context.Context, t *telling) (status int, body string, err error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	output, stdout, err := os.Pipe()
	if err != nil {
		return 0, "", err
	}
	defer output.Close()
	t.called("podid run -f examples/list-files/pod.yaml --env ADDR=127.0.0.1:0 -- list-files")
	process, err := podrun.Start(ctx, podrun.Config{
		Kube: s.kube, Pod: s.pod, Command: []string{s.cfg.App}, Environ: s.cfg.Environ, ExtraEnv: []string{"ADDR=127.0.0.1:0"},
		Stdout: stdout, Stderr: io.Discard, Now: s.cfg.Now, Logger: slog.New(slog.DiscardHandler),
	})
	_ = stdout.Close() // the process has its own
	if err != nil {
		return 0, "", err
	}
	status, body, err = ask(ctx, t, output)
	if signalErr := process.Signal(os.Interrupt); signalErr != nil && err == nil {
		err = signalErr
	}
	code, waitErr := process.Wait()
	const interrupted = 128 + int(syscall.SIGINT) // by us: an application need not catch it
	if err == nil && waitErr == nil && code != 0 && code != interrupted {
		waitErr = fmt.Errorf("the application ended with exit code %d", code)
	}
	return status, body, errors.Join(err, waitErr)
}

var listening = regexp.MustCompile(`listening on (http://127\.0\.0\.1:\d+)`)

// ask waits for the application to say where it listens, and gets /.
func ask(ctx context.Context, t *telling, output io.Reader) (int, string, error) {
	lines := bufio.NewScanner(output)
	for lines.Scan() {
		found := listening.FindStringSubmatch(lines.Text())
		if found == nil {
			continue
		}
		t.called("GET / of the application")
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, found[1]+"/", nil)
		if err != nil {
			return 0, "", err
		}
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			return 0, "", err
		}
		defer answer.Body.Close()
		body, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
		return answer.StatusCode, strings.TrimSpace(string(body)), err
	}
	return 0, "", errors.Join(errors.New("the application ended before it listened"), lines.Err())
}

func (s *story) runBefore(ctx context.Context, t *telling) error {
	status, body, err := s.runApp(ctx, t)
	if err != nil {
		return err
	}
	t.found("%d %s", status, body)
	if err := expect(status == http.StatusInternalServerError && strings.Contains(body, "unable to load credentials"),
		"want 500 and \"unable to load credentials\""); err != nil {
		return err
	}
	pod, err := s.admitPod(ctx)
	if err != nil {
		return err
	}
	t.found("Why: no association names service account %s in namespace %s, so the webhook left the pod as it was:\n"+
		"it has no AWS_CONTAINER_CREDENTIALS_FULL_URI, and no provider of the SDK's chain finds anything.", account, namespace)
	_, has := pod.env("AWS_CONTAINER_CREDENTIALS_FULL_URI")
	return expect(!has, "the pod has AWS_CONTAINER_CREDENTIALS_FULL_URI all the same")
}

func (s *story) runAfter(ctx context.Context, t *telling) error {
	status, body, err := s.runApp(ctx, t)
	if err != nil {
		return err
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, []byte(body)); err != nil {
		return fmt.Errorf("the application answered %d %s: %w", status, body, err)
	}
	t.found("%d %s", status, compact.String())
	return expect(status == http.StatusOK && compact.String() == `{"files":["test-file-1.md","test-file-2.md"]}`,
		`want 200 {"files":["test-file-1.md","test-file-2.md"]}`)
}

// admitted is what of a pod the story looks at.
type admitted struct {
	Metadata struct {
		Name string `json:"name"`
		UID  string `json:"uid"`
	} `json:"metadata"`
	Spec struct {
		Volumes []struct {
			Name      string `json:"name"`
			Projected *struct {
				Sources []struct {
					Token *struct {
						Audience string `json:"audience"`
					} `json:"serviceAccountToken"`
				} `json:"sources"`
			} `json:"projected"`
		} `json:"volumes"`
		Containers []struct {
			Env []struct {
				Name  string `json:"name"`
				Value string `json:"value"`
			} `json:"env"`
		} `json:"containers"`
	} `json:"spec"`
}

func (p *admitted) env(name string) (string, bool) {
	for _, e := range p.Spec.Containers[0].Env {
		if e.Name == name {
			return e.Value, true
		}
	}
	return "", false
}

func (s *story) admitPod(ctx context.Context) (*admitted, error) {
	data, _, err := s.kube.DryRunCreate(ctx, s.pod.Namespace, s.pod.JSON)
	if err != nil {
		return nil, err
	}
	pod := &admitted{}
	if err := json.Unmarshal(data, pod); err != nil {
		return nil, fmt.Errorf("reading the admitted pod: %w", err)
	}
	return pod, expect(len(pod.Spec.Containers) == 1, "the pod has %d containers, want 1", len(pod.Spec.Containers))
}

func (s *story) admit(ctx context.Context, t *telling) error {
	t.called("POST /api/v1/namespaces/%s/pods?dryRun=All of the cluster", namespace)
	pod, err := s.admitPod(ctx)
	if err != nil {
		return err
	}
	for _, name := range []string{"AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "AWS_REGION", "AWS_ENDPOINT_URL"} {
		value, ok := pod.env(name)
		if err := expect(ok, "the pod lacks %s", name); err != nil {
			return err
		}
		t.found("+ env    %s=%s", name, value)
	}
	for _, volume := range pod.Spec.Volumes {
		if volume.Projected != nil && len(volume.Projected.Sources) == 1 && volume.Projected.Sources[0].Token != nil {
			t.found("+ volume %s: service account token for %s", volume.Name, volume.Projected.Sources[0].Token.Audience)
			return expect(volume.Projected.Sources[0].Token.Audience == identity.PodIdentityAudience, "the token is for somebody else")
		}
	}
	return errors.New("the pod has no volume with a service account token")
}

// sdk is an AWS configuration with the credentials that the SDK's container provider gets for a service account: from the agent, for a
// token that the cluster issued.
func (s *story) sdk(ctx context.Context, name string) (aws.Config, error) {
	pod, err := s.admitPod(ctx)
	if err != nil {
		return aws.Config{}, err
	}
	token, err := s.kube.Token(ctx, identity.ServiceAccount{Namespace: namespace, Name: name}, podrun.TokenRequest{
		Audience: identity.PodIdentityAudience, ExpirationSeconds: 3600, PodName: pod.Metadata.Name, PodUID: pod.Metadata.UID,
	})
	if err != nil {
		return aws.Config{}, err
	}
	config := s.dev.Admin()
	config.Credentials = aws.NewCredentialsCache(endpointcreds.New(s.dev.AgentURL()+"/v1/credentials", func(o *endpointcreds.Options) {
		o.AuthorizationToken = token.Value.Reveal()
	}))
	return config, nil
}

func (s *story) whoAmI(ctx context.Context, t *telling) error {
	config, err := s.sdk(ctx, account)
	if err != nil {
		return err
	}
	t.called("sts:GetCallerIdentity")
	out, err := sts.NewFromConfig(config).GetCallerIdentity(ctx, nil)
	if err != nil {
		return err
	}
	t.found("%s", aws.ToString(out.Arn))
	want := regexp.MustCompile(`^arn:aws:sts::` + accountID + `:assumed-role/` + roleName + `/eks-` + dev.ClusterName + `-list-files[-a-z0-9]*-[0-9a-f-]{36}$`)
	return expect(want.MatchString(aws.ToString(out.Arn)), "want assumed-role/%s/eks-%s-<pod>-<uuid>", roleName, dev.ClusterName)
}

func (s *story) otherAccount(ctx context.Context, t *telling) error {
	config, err := s.sdk(ctx, "orders")
	if err != nil {
		return err
	}
	t.called("GET /v1/credentials of the agent, with a token of service account %s/orders", namespace)
	_, err = config.Credentials.Retrieve(ctx)
	if err := expect(err != nil, "it got credentials"); err != nil {
		return err
	}
	t.found("%v", err)
	return expect(strings.Contains(err.Error(), "ResourceNotFoundException"), "want ResourceNotFoundException")
}

func (s *story) putObject(ctx context.Context, t *telling) error {
	config, err := s.sdk(ctx, account)
	if err != nil {
		return err
	}
	t.called("s3:PutObject %s/new.md", bucket)
	_, err = s3.NewFromConfig(config, pathStyle).PutObject(ctx, &s3.PutObjectInput{
		Bucket: aws.String(bucket), Key: aws.String("new.md"), Body: strings.NewReader("x"),
	})
	return expectDenied(t, err, "because no identity-based policy allows the s3:PutObject action")
}

func pathStyle(o *s3.Options) { o.UsePathStyle = true }

func expectDenied(t *telling, err error, reason string) error {
	var api smithy.APIError
	if !errors.As(err, &api) {
		return fmt.Errorf("want AccessDenied, got %w", errors.Join(errors.New("no denial"), err))
	}
	t.found("%s: %s", api.ErrorCode(), api.ErrorMessage())
	return expect(api.ErrorCode() == "AccessDenied" && strings.Contains(api.ErrorMessage(), reason), "want AccessDenied %s", reason)
}

// sessionTags lets the policy decide by the session tag kubernetes-namespace, which EKS Auth sets and nobody else can.
func (s *story) sessionTags(ctx context.Context, t *telling) error {
	const document = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::demo/*",
		"Condition":{"StringEquals":{"aws:PrincipalTag/kubernetes-namespace":%q}}}]}`
	config, err := s.sdk(ctx, account)
	if err != nil {
		return err
	}
	get := func() error {
		t.called("s3:GetObject %s/test-file-1.md", bucket)
		out, err := s3.NewFromConfig(config, pathStyle).GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String(bucket), Key: aws.String("test-file-1.md")})
		if err == nil {
			err = out.Body.Close()
		}
		return err
	}
	if err := s.setPolicy(ctx, t, fmt.Sprintf(document, namespace), "s3:GetObject if aws:PrincipalTag/kubernetes-namespace is "+namespace); err != nil {
		return err
	}
	if err := get(); err != nil {
		return err
	}
	t.found("allowed")
	if err := s.setPolicy(ctx, t, fmt.Sprintf(document, "payments"), "s3:GetObject if aws:PrincipalTag/kubernetes-namespace is payments"); err != nil {
		return err
	}
	return expectDenied(t, get(), "because no identity-based policy allows the s3:GetObject action")
}
