package podrun

import (
	"context"
	"encoding/json"
	"errors"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/podid/podid/internal/identity"
)

// TestEnvironment compares the whole environment: what is not there matters as much as what is.
func TestEnvironment(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE") // of this process, as from a shell
	caller := []string{"PATH=/bin", "HOME=/home/me", "TERM=dumb", "AWS_PROFILE=admin", "AWS_SECRET_ACCESS_KEY=x", "LANG=C", "PATHS=no"}
	guarded := map[string]string{
		"PATH": "/bin", "HOME": "/home/me", "TERM": "dumb",
		"AWS_SHARED_CREDENTIALS_FILE": "$DIR/empty", "AWS_CONFIG_FILE": "$DIR/empty", "BOTO_CONFIG": "$DIR/empty",
		"AWS_EC2_METADATA_DISABLED": "true",
	}
	granted := map[string]string{
		"AWS_REGION": "us-west-2", "AWS_DEFAULT_REGION": "us-west-2",
		"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1:7078/v1/credentials",
		tokenVariable:                        "$DIR/eks-pod-identity-token/eks-pod-identity-token",
	}
	for name, test := range map[string]struct {
		env   string // of the container, YAML
		extra []string
		want  []map[string]string // later ones win
	}{
		"none": {"", nil, []map[string]string{guarded, granted}},
		"own": {`
    - {name: A, value: "1"}
    - {name: B, value: "$(A)2 $(C) $$(A)"}
    - {name: C, value: "file://$(TOKEN)"}
    - {name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
    - {name: NS, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
    - {name: SA, valueFrom: {fieldRef: {fieldPath: spec.serviceAccountName}}}
    - {name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
    - {name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
    - {name: HOST, valueFrom: {fieldRef: {fieldPath: status.hostIP}}}
    - {name: APP, valueFrom: {fieldRef: {fieldPath: "metadata.labels['app']"}}}
    - {name: NONE, valueFrom: {fieldRef: {fieldPath: "metadata.annotations['none']"}}}
    - {name: PATH, value: /app/bin}
    - {name: OPTIONAL, valueFrom: {secretKeyRef: {name: s, key: k, optional: true}}}
`, nil, []map[string]string{guarded, granted, {
			"A": "1", "B": "12 $(C) $(A)", "C": "file://$(TOKEN)", "POD": "carts", "NS": "carts", "SA": "carts", "NODE": "localhost",
			"IP": "127.0.0.1", "HOST": "127.0.0.1", "APP": "shop", "NONE": "", "PATH": "/app/bin",
		}}},
		"extra": {`
    - {name: PASSWORD, valueFrom: {secretKeyRef: {name: s, key: k}}}
    - {name: URL, value: "db://$(PASSWORD)@db"}
    - {name: A, value: pod}
`, []string{"PASSWORD=p=w", "A=extra", "AWS_EC2_METADATA_DISABLED=false", "TMPDIR=/var/run/secrets/pods.eks.amazonaws.com/serviceaccount"},
			[]map[string]string{guarded, granted, {
				"PASSWORD": "p=w", "URL": "db://p=w@db", "A": "extra", "AWS_EC2_METADATA_DISABLED": "false",
				"TMPDIR": "/var/run/secrets/pods.eks.amazonaws.com/serviceaccount",
			}}},
		"own guards": {`
    - {name: AWS_CONFIG_FILE, value: /etc/aws}
`, nil, []map[string]string{guarded, granted, {"AWS_CONFIG_FILE": "/etc/aws"}}},
		"paths": {`
    - {name: TOKEN, value: /var/run/secrets/pods.eks.amazonaws.com/serviceaccount/eks-pod-identity-token}
    - {name: DIR, value: /var/run/secrets/pods.eks.amazonaws.com/serviceaccount}
    - {name: FROM, value: "x:$(TOKEN)"}
    - {name: OTHER, value: /var/run/secrets/pods.eks.amazonaws.com/serviceaccounts}
`, nil, []map[string]string{guarded, granted, {
			"TOKEN": "$DIR/eks-pod-identity-token/eks-pod-identity-token", "DIR": "$DIR/eks-pod-identity-token",
			"FROM":  "x:$DIR/eks-pod-identity-token/eks-pod-identity-token",
			"OTHER": "/var/run/secrets/pods.eks.amazonaws.com/serviceaccounts",
		}}},
	} {
		t.Run(name, func(t *testing.T) {
			manifest := cartsPod
			if test.env != "" {
				manifest += "    env:" + test.env
			}
			cfg := validConfig(t, manifest, "env")
			cfg.Environ, cfg.ExtraEnv = caller, test.extra
			_, out := run(t, cfg)
			var list []string
			if err := json.Unmarshal([]byte(out), &list); err != nil {
				t.Fatal(err)
			}
			got := map[string]string{}
			var dir string
			for _, pair := range list {
				name, value, _ := strings.Cut(pair, "=")
				got[name] = value
				if name == "BOTO_CONFIG" {
					dir = filepath.Dir(value)
				}
			}
			want := map[string]string{}
			for _, part := range test.want {
				for name, value := range part {
					want[name] = strings.ReplaceAll(value, "$DIR", dir)
				}
			}
			if !strings.HasPrefix(dir, cfg.TempDir+"/podid-run-") {
				t.Errorf("private directory %q", dir)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("environment (-want +got):\n%s", diff)
			}
		})
	}
}

// A service account in the manifest goes into the cluster, and what it says counts at once.
func TestServiceAccountOfManifest(t *testing.T) {
	const role = "arn:aws:iam::111122223333:role/orders"
	account := func(annotations string) string {
		return "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: orders, annotations: {" + annotations + "}}\n---\n"
	}
	pod := strings.ReplaceAll(cartsPod, "carts", "orders")
	cfg := validConfig(t, account("eks.amazonaws.com/role-arn: '"+role+"'")+pod, "env")
	p := ended(t, cfg)
	env, err := parseEnv(p.Env())
	if err != nil {
		t.Fatal(err)
	}
	var admitted struct{ Metadata struct{ Name, UID string } }
	if err := json.Unmarshal(p.Admitted(), &admitted); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"AWS_ROLE_ARN": role, "AWS_ROLE_SESSION_NAME": admitted.Metadata.Name + "-" + admitted.Metadata.UID,
		"AWS_WEB_IDENTITY_TOKEN_FILE": filepath.Join(filepath.Dir(env.values["BOTO_CONFIG"]), "aws-iam-token/token"),
	}
	for name, value := range want {
		if got := env.values[name]; got != value {
			t.Errorf("%s=%s, want %s", name, got, value)
		}
	}
	if !p.HasCredentials() || len(p.Warnings()) != 0 {
		t.Errorf("has credentials: %v, warnings %q", p.HasCredentials(), p.Warnings())
	}

	with := cfg
	if cfg.Pod, err = Load([]byte(account("")+pod), ""); err != nil {
		t.Fatal(err)
	}
	if ended(t, cfg).HasCredentials() {
		t.Error("the role is still there after the annotation is gone")
	}
	with.ExtraEnv = []string{"AWS_ROLE_SESSION_NAME=mine"}
	if p := ended(t, with); !p.HasCredentials() || !slices.Contains(p.Env(), "AWS_ROLE_SESSION_NAME=mine") {
		t.Errorf("with the annotation again, and a name for the session: %q", p.Env())
	}
}

// ended starts a process and waits for its end.
func ended(t *testing.T, cfg Config) *Process {
	t.Helper()
	p, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Wait(); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestNoAssociationNoToken(t *testing.T) {
	cfg := validConfig(t, strings.ReplaceAll(cartsPod, "carts", "orders"), "env")
	_, out := run(t, cfg)
	var list []string
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		t.Fatal(err)
	}
	if len(list) != len(guards("")) {
		t.Errorf("environment %q, want the guards only", list)
	}
}

func TestStartErrors(t *testing.T) {
	const secret = "    env: [{name: A, valueFrom: {secretKeyRef: {name: db, key: password}}}, " +
		"{name: B, valueFrom: {configMapKeyRef: {name: web, key: url}}}, {name: C, valueFrom: {resourceFieldRef: {resource: limits.cpu}}}, " +
		"{name: D, valueFrom: {fieldRef: {fieldPath: status.phase}}}]\n"
	const from = "    envFrom: [{configMapRef: {name: web}}, {secretRef: {name: db}}, {secretRef: {name: other, optional: true}}]\n"
	volume := func(token string) string {
		return "    volumeMounts: [{name: t, mountPath: /t}]\n" +
			"  volumes: [{name: t, projected: {sources: [{serviceAccountToken: " + token + "}]}}]\n"
	}
	for name, test := range map[string]struct {
		manifest string
		mutate   func(*Config)
		want     []string // parts of the error
	}{
		"no container":  {cartsPod, func(c *Config) { c.Container = "web" }, []string{`no container "web"`, "it has app"}},
		"no command":    {cartsPod, func(c *Config) { c.Command = nil }, []string{"no command in the manifest"}},
		"only args":     {cartsPod + "    args: [x]\n", func(c *Config) { c.Command = nil }, []string{"its program is in its image"}},
		"not found":     {cartsPod, func(c *Config) { c.Command = []string{"podid-no-such-command"} }, []string{"starting podid-no-such-command"}},
		"bad extra":     {cartsPod, func(c *Config) { c.ExtraEnv = []string{"A"} }, []string{"NAME=value"}},
		"bad extra too": {cartsPod, func(c *Config) { c.ExtraEnv = []string{"=A"} }, []string{"NAME=value"}},
		"secret": {cartsPod + secret, func(*Config) {}, []string{"A (secret db, key password)", "B (config map web, key url)",
			"C (neither", "D (field status.phase)"}},
		"envFrom":   {cartsPod + from, func(*Config) {}, []string{"all of config map web, all of secret db;"}},
		"temp dir":  {cartsPod, func(c *Config) { c.TempDir = "/nowhere" }, []string{"making private directory"}},
		"no kube":   {cartsPod, func(c *Config) { c.Kube = nil }, []string{"no Kubernetes API"}},
		"no pod":    {cartsPod, func(c *Config) { c.Pod = Pod{} }, []string{"no pod"}},
		"no clock":  {cartsPod, func(c *Config) { c.Now = nil }, []string{"no clock"}},
		"no logger": {cartsPod, func(c *Config) { c.Logger = nil }, []string{"no logger"}},
		"unauthorized": {cartsPod, func(c *Config) {
			c.Kube.bearer = func(context.Context) (identity.Secret, error) { return "hunter2", nil }
		}, []string{"admitting pod: Unauthorized"}},
		"no bearer": {cartsPod, func(c *Config) {
			c.Kube.bearer = func(context.Context) (identity.Secret, error) { return "", errors.New("no credentials") }
		}, []string{"making bearer token: no credentials"}},
		"invalid pod": {strings.Replace(cartsPod, "serviceAccountName: carts", "serviceAccountName: Carts", 1), func(*Config) {},
			[]string{"Pod is invalid: spec.serviceAccountName"}},
		"token refused": {cartsPod + volume("{path: t, expirationSeconds: 10}"), func(*Config) {},
			[]string{"getting token", "10 minutes"}},
		"token outside": {cartsPod + volume("{path: ../../t}"), func(*Config) {}, []string{"leaves the volume"}},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := validConfig(t, test.manifest, "nothing")
			temp := cfg.TempDir
			test.mutate(&cfg)
			_, err := Start(t.Context(), cfg)
			if err == nil {
				t.Fatal("started")
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got %q, want it to say %q", err, want)
				}
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the bearer token is in %q", err)
			}
			checkClean(t, Config{TempDir: temp})
		})
	}
	t.Run("envFrom skipped", func(t *testing.T) {
		cfg := validConfig(t, cartsPod+from, "nothing")
		cfg.SkipEnvFrom = true
		run(t, cfg)
	})
	t.Run("kinds", func(t *testing.T) {
		cfg := validConfig(t, cartsPod)
		cfg.Command = []string{"podid-no-such-command"}
		if _, err := Start(t.Context(), cfg); !errors.Is(err, exec.ErrNotFound) {
			t.Errorf("got %v, want exec.ErrNotFound", err)
		}
	})
}
