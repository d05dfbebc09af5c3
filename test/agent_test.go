package test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/endpointcreds"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// startAgent runs podid-agent in an environment, and returns the URL of its endpoint.
func startAgent(t *testing.T, env []string, args ...string) (url string, p *process) {
	t.Helper()
	port := freePort(t)
	args = append([]string{"server", "--bind-hosts", "127.0.0.1", "--port", port, "--probe-port", freePort(t),
		"--metrics-address", "127.0.0.1", "--metrics-port", freePort(t)}, args...)
	p = start(t, env, nil, "podid-agent", args...)
	eventually(t, "agent serves", func() error {
		if log := p.stderr.String(); !strings.Contains(log, "agent serves") {
			return fmt.Errorf("stderr is %q", log)
		}
		return nil
	})
	return "http://127.0.0.1:" + port + "/v1/credentials", p
}

// answer is what a pod gets of the agent: credentials, or a refusal.
type answer struct {
	status                     int
	AccessKeyID, Code, Message string
}

func ask(t *testing.T, url, token string) answer {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", token)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	a := answer{status: response.StatusCode}
	if err := json.Unmarshal(body, &a); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	return a
}

// The agent of a node is a program of its own; to the control plane it is a client like any other.
func TestAgent(t *testing.T) {
	d, env := pods(t)
	url, agent := startAgent(t, env, "--cluster-name", "local", "--endpoint", d.url)
	token := d.token(t, "carts")

	cfg := d.config()
	cfg.Credentials = endpointcreds.New(url, func(o *endpointcreds.Options) { o.AuthorizationToken = token })
	who, err := sts.NewFromConfig(cfg).GetCallerIdentity(t.Context(), nil)
	if err != nil || !strings.HasPrefix(aws.ToString(who.Arn), "arn:aws:sts::111122223333:assumed-role/carts/eks-local-carts-0-") {
		t.Errorf("the pod is %+v, %v", who, err)
	}
	if got := ask(t, url, d.token(t, "orders")); got.status != http.StatusNotFound || got.Code != "ResourceNotFoundException" ||
		!strings.Contains(got.Message, "carts") || !strings.Contains(got.Message, "orders") {
		t.Errorf("without an association: got %+v", got)
	}
	elsewhere, _ := startAgent(t, env, "--cluster-name", "edge", "--endpoint", d.url)
	if got := ask(t, elsewhere, token); got.status != http.StatusNotFound || got.Code != "ResourceNotFoundException" ||
		!strings.Contains(got.Message, "edge") {
		t.Errorf("of an unknown cluster: got %+v", got)
	}
	if code := agent.stop(t, syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	for _, secret := range []string{token, value(env, "AWS_SECRET_ACCESS_KEY")} {
		if strings.Contains(agent.stderr.String(), secret) {
			t.Error("a secret is in the agent's log")
		}
	}
}

// An agent that follows the associations knows within seconds that one has changed, and that one is gone.
func TestAgentFollowsAssociations(t *testing.T) {
	d, env := pods(t)
	url, agent := startAgent(t, env, "--cluster-name", "local", "--endpoint", d.url, "--follow-associations")
	eventually(t, "the feed is up", func() error {
		if log := agent.stderr.String(); !strings.Contains(log, "associations are followed") {
			return fmt.Errorf("stderr is %q", log)
		}
		return nil
	})
	token := d.token(t, "carts")
	first := ask(t, url, token)
	if first.status != http.StatusOK {
		t.Fatalf("got %+v\n%s", first, agent.stderr.String())
	}
	client := eks.NewFromConfig(d.config())
	list, err := client.ListPodIdentityAssociations(t.Context(), &eks.ListPodIdentityAssociationsInput{
		ClusterName: aws.String("local"), ServiceAccount: aws.String("carts"), Namespace: aws.String("carts"),
	})
	if err != nil || len(list.Associations) != 1 {
		t.Fatalf("%+v, %v", list, err)
	}
	id := list.Associations[0].AssociationId
	role := d.createRole(t, "carts2")
	if _, err := client.UpdatePodIdentityAssociation(t.Context(), &eks.UpdatePodIdentityAssociationInput{
		ClusterName: aws.String("local"), AssociationId: id, RoleArn: &role,
	}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the new role", func() error {
		cfg := d.config()
		cfg.Credentials = endpointcreds.New(url, func(o *endpointcreds.Options) { o.AuthorizationToken = token })
		who, err := sts.NewFromConfig(cfg).GetCallerIdentity(t.Context(), nil)
		if err == nil && !strings.Contains(aws.ToString(who.Arn), ":assumed-role/carts2/") {
			err = fmt.Errorf("still %s", aws.ToString(who.Arn))
		}
		return err
	})
	if _, err := client.DeletePodIdentityAssociation(t.Context(), &eks.DeletePodIdentityAssociationInput{
		ClusterName: aws.String("local"), AssociationId: id,
	}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "no credentials", func() error {
		if got := ask(t, url, token); got.status != http.StatusNotFound {
			return fmt.Errorf("got %+v", got)
		}
		return nil
	})
}

// An outage of the control plane takes no pod's credentials, and the agent needs no restart after it.
func TestAgentOutlivesControlPlane(t *testing.T) {
	dir, port := dataDir(t), freePort(t)
	d := startDev(t, dir, "--listen", "127.0.0.1:"+port)
	role := d.createRole(t, "carts")
	d.associate(t, "carts", role)
	d.associate(t, "orders", role)
	carts, orders := d.token(t, "carts"), d.token(t, "orders")
	d.stop(t, syscall.SIGTERM)

	url, _ := startAgent(t, d.env, "--cluster-name", "local", "--endpoint", d.url)
	if got := ask(t, url, carts); got.status != http.StatusInternalServerError || got.AccessKeyID != "" {
		t.Errorf("before there is a control plane: got %+v, want 500", got)
	}

	d = startDev(t, dir, "--listen", "127.0.0.1:"+port)
	first := ask(t, url, carts)
	if first.status != http.StatusOK || first.AccessKeyID == "" {
		t.Errorf("with the control plane: got %+v", first)
	}
	d.stop(t, syscall.SIGKILL)
	if got := ask(t, url, carts); got != first {
		t.Errorf("a pod that had credentials got %+v in the outage, want the same %+v", got, first)
	}
	if got := ask(t, url, orders); got.status != http.StatusInternalServerError {
		t.Errorf("a pod that had none got %+v in the outage, want 500", got)
	}

	d = startDev(t, dir, "--listen", "127.0.0.1:"+port)
	if got := ask(t, url, orders); got.status != http.StatusOK {
		t.Errorf("after the outage: got %+v", got)
	}
	cfg := d.config()
	cfg.Credentials = endpointcreds.New(url, func(o *endpointcreds.Options) { o.AuthorizationToken = carts })
	if _, err := sts.NewFromConfig(cfg).GetCallerIdentity(t.Context(), nil); err != nil {
		t.Errorf("credentials from before the restart: %v", err)
	}
}
