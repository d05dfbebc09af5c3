package test

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// pods is a podid dev with the role carts for the service account carts/carts, and a shell to run pods from, in which every trap
// for somebody else's identity is laid.
func pods(t testing.TB) (d *devServer, env []string) {
	t.Helper()
	d = startDev(t, dataDir(t))
	d.associate(t, "carts", d.createRole(t, "carts"))
	env = append(slices.Clone(d.env), environment(t)...) // the last ones count
	const profile = "[default]\naws_access_key_id = AKIAIOSFODNN7EXAMPLE\naws_secret_access_key = leaked\nregion = eu-west-3\n"
	writeFile(t, filepath.Join(value(env, "HOME"), ".aws/credentials"), profile, 0o600)
	writeFile(t, filepath.Join(value(env, "HOME"), ".aws/config"), profile, 0o600)
	return d, env
}

// plus is env with more variables; env stays as it is.
func plus(env []string, more ...string) []string { return slices.Concat(env, more) }

var session = regexp.MustCompile(`^arn:aws:sts::111122223333:assumed-role/carts/eks-local-carts-\w{5}-[-0-9a-f]{36}\n$`)

func TestRun(t *testing.T) {
	d, env := pods(t)
	with := func(args ...string) []string {
		return append([]string{"run", "-n", "carts", "--service-account", "carts"}, args...)
	}

	t.Run("default chain", func(t *testing.T) {
		got := run(t, env, "", "podid", with("--", os.Args[0], "child", "whoami")...)
		if got.code != 0 || !session.MatchString(got.stdout) || got.stderr != "" {
			t.Errorf("got %+v, want a session of carts", got)
		}
	})
	t.Run("no association", func(t *testing.T) {
		got := run(t, env, "", "podid", "run", "-n", "carts", "--service-account", "orders", "--", os.Args[0], "child", "whoami")
		if got.code != noCredentials {
			t.Errorf("got %+v, want no credentials", got)
		}
		const note = "podid: note: the cluster local has no association for carts/orders, and the service account names no role, so this runs without credentials; associate one with: " +
			"aws eks create-pod-identity-association --cluster-name local --namespace carts --service-account orders --role-arn ROLE_ARN\n"
		if diff := cmp.Diff(note, got.stderr); diff != "" {
			t.Errorf("stderr (-want +got):\n%s", diff)
		}
		got = run(t, env, "", "podid", "run", "--service-account", "orders", "--env", "AWS_ACCESS_KEY_ID=x", "--", "true")
		if got.code != 0 || got.stderr != "" {
			t.Errorf("with credentials of its own: got %+v, want silence", got)
		}
	})
	t.Run("environment", func(t *testing.T) {
		got := run(t, plus(env, "PRIVATE=1"), "", "podid", with("--env", "MORE=a b", "--", "env")...)
		checkEnvironment(t, d, env, got)
	})
	t.Run("exit code", func(t *testing.T) {
		for script, want := range map[string]int{"exit 7": 7, "kill -KILL $$": 128 + 9, "true": 0} {
			if got := run(t, env, "", "podid", with("sh", "-c", script)...); got.code != want || got.stdout+got.stderr != "" {
				t.Errorf("%s: got %+v, want exit code %d", script, got, want)
			}
		}
	})
	t.Run("signals", func(t *testing.T) {
		for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP} {
			const script = `trap "echo caught; exit 9" TERM INT HUP; echo ready; while :; do sleep 0.02; done`
			p := start(t, env, nil, "podid", with("--", "sh", "-c", script)...)
			p.says(t, "ready")
			if code := p.stop(t, sig); code != 9 || p.stdout.String() != "ready\ncaught\n" {
				t.Errorf("%v: exit code %d, stdout %q; want 9 and the trap", sig, code, p.stdout.String())
			}
		}
	})
	t.Run("standard input", func(t *testing.T) {
		if got := run(t, env, "typed", "podid", with("--", "cat")...); got.code != 0 || got.stdout != "typed" {
			t.Errorf("got %+v, want what was typed", got)
		}
	})
	t.Run("flags of the command", func(t *testing.T) {
		if got := run(t, env, "", "podid", with("echo", "-n", "--env")...); got.code != 0 || got.stdout != "--env" {
			t.Errorf("got %+v, want --env", got)
		}
	})
	checkEmpty(t, env)
}

// checkEnvironment looks at what a command of carts/carts got: of the caller's shell, of podid run, and of the cluster.
func checkEnvironment(t *testing.T, d *devServer, shell []string, got result) {
	t.Helper()
	variables := map[string]string{}
	for line := range strings.Lines(got.stdout) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		variables[name] = value
	}
	// Where tokens are kept is not known beforehand, but it must be the test's own directory for temporary files.
	for _, name := range []string{"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "BOTO_CONFIG"} {
		if !strings.HasPrefix(variables[name], value(shell, "TMPDIR")+"/podid-run-") {
			t.Errorf("%s is %q, want a file below %s", name, variables[name], value(shell, "TMPDIR"))
		}
		delete(variables, name)
	}
	want := map[string]string{
		"PATH": value(shell, "PATH"), "HOME": value(shell, "HOME"), "MORE": "a b",
		"AWS_CONTAINER_CREDENTIALS_FULL_URI": d.agentURL + "/v1/credentials", "AWS_ENDPOINT_URL": d.url,
		"AWS_REGION": "us-west-2", "AWS_DEFAULT_REGION": "us-west-2", "AWS_STS_REGIONAL_ENDPOINTS": "regional",
		"AWS_EC2_METADATA_DISABLED": "true",
	}
	if diff := cmp.Diff(want, variables); diff != "" {
		t.Errorf("environment (-want +got):\n%s\nstderr %q", diff, got.stderr)
	}
}

const deployment = `apiVersion: v1
kind: Service
metadata: {name: carts}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: carts, namespace: carts}
spec:
  template:
    metadata: {labels: {app: carts}}
    spec:
      serviceAccountName: carts
      containers:
        - name: proxy
          command: [sh, -c, 'echo proxy']
        - name: app
          command: [sh, -c]
          args: ['echo "$GREETING $POD"']
          env:
            - {name: GREETING, value: hello}
            - {name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
            - {name: PASSWORD, valueFrom: {secretKeyRef: {name: db, key: password}}}
`

func TestRunManifest(t *testing.T) {
	_, env := pods(t)
	file := writeFile(t, filepath.Join(t.TempDir(), "deployment.yaml"), deployment, 0o600)
	for name, test := range map[string]struct {
		stdin string
		args  []string
		want  string
	}{
		"first container":    {"", []string{"-f", file}, `^proxy\n$`},
		"container":          {"", []string{"-f", file, "-c", "app", "--env", "PASSWORD=x"}, `^hello carts-\w{5}\n$`},
		"another greeting":   {"", []string{"-f", file, "-c", "app", "--env", "PASSWORD=x", "--env", "GREETING=bye"}, `^bye carts-\w{5}\n$`},
		"standard input":     {deployment, []string{"-f", "-"}, `^proxy\n$`},
		"another command":    {"", []string{"-f", file, "--", os.Args[0], "child", "whoami"}, `assumed-role/carts/eks-local-carts-`},
		"example's own pod":  {"", []string{"-f", "../examples/list-files/pod.yaml", "--", os.Args[0], "child", "whoami"}, `assumed-role/carts/eks-local-list-files-`},
		"namespace repeated": {"", []string{"-f", file, "-n", "carts"}, `^proxy\n$`},
	} {
		t.Run(name, func(t *testing.T) {
			got := run(t, env, test.stdin, "podid", append([]string{"run"}, test.args...)...)
			if got.code != 0 || !regexp.MustCompile(test.want).MatchString(got.stdout) || got.stderr != "" {
				t.Errorf("got %+v, want stdout %s", got, test.want)
			}
		})
	}
	checkEmpty(t, env)
}

// The example application runs as its pod, ends by the signal that podid run gets, and leaves nothing.
func TestRunApplication(t *testing.T) {
	_, env := pods(t)
	p := start(t, env, nil, "podid", "run", "-f", "../examples/list-files/pod.yaml", "--env", "ADDR=127.0.0.1:0")
	_, url, _ := strings.Cut(strings.TrimSpace(p.says(t, "\n")), "listening on ")
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if want := `{"files":["test-file-1.md","test-file-2.md"]}` + "\n"; err != nil || string(body) != want {
		t.Errorf("got %d %s, %v; want %s", response.StatusCode, body, err, want)
	}
	if code := p.stop(t, syscall.SIGTERM); code != 0 || p.stderr.String() != "" {
		t.Errorf("exit code %d, stderr %q; want 0 and nothing", code, p.stderr.String())
	}
	checkEmpty(t, env)
}

// What cannot be run is said in one line, with what to do about it.
func TestRunRefuses(t *testing.T) {
	_, env := pods(t)
	nothing := environment(t)
	dir := t.TempDir()
	file := writeFile(t, filepath.Join(dir, "deployment.yaml"), deployment, 0o600)
	service := writeFile(t, filepath.Join(dir, "service.yaml"), "apiVersion: v1\nkind: Service\nmetadata: {name: carts}\n", 0o600)
	broken := writeFile(t, filepath.Join(dir, "broken.yaml"), "kind: Pod\n  spec: {\n", 0o600)
	bare := func(more ...string) []string {
		return append([]string{"-n", "carts", "--service-account", "carts"}, more...)
	}
	for name, test := range map[string]struct {
		env   []string
		args  []string
		wants []string
	}{
		"nothing sourced":     {nothing, bare("true"), []string{"region", ". .podid/admin.env"}},
		"no credentials":      {plus(nothing, "AWS_REGION=us-west-2"), bare("true"), []string{"credentials", ". .podid/admin.env"}},
		"not running":         {plus(env, "AWS_ENDPOINT_URL=http://127.0.0.1:1"), bare("true"), []string{"http://127.0.0.1:1", "podid dev running"}},
		"old credentials":     {plus(env, "AWS_SECRET_ACCESS_KEY=other"), bare("true"), []string{"Signature", "admin.env"}},
		"unknown cluster":     {env, append([]string{"--cluster", "edge"}, bare("true")...), []string{"no cluster edge", "aws eks list-clusters"}},
		"no pod":              {env, []string{"--", "true"}, []string{"-f POD.yaml", "--service-account NAME"}},
		"no service account":  {env, []string{"-n", "carts", "--", "true"}, []string{"--service-account NAME"}},
		"both":                {env, append([]string{"-f", file}, bare("true")...), []string{"not both"}},
		"no command":          {env, bare(), []string{"give a command"}},
		"no such file":        {env, []string{"-f", filepath.Join(dir, "none.yaml")}, []string{"none.yaml", "no such file"}},
		"no pod in the file":  {env, []string{"-f", service}, []string{service, "no pod", "Service carts", "Deployment"}},
		"broken file":         {env, []string{"-f", broken}, []string{broken, "line 2"}},
		"another namespace":   {env, []string{"-f", file, "-n", "other"}, []string{"Deployment carts is in namespace carts, not in other"}},
		"unknown container":   {env, []string{"-f", file, "-c", "db"}, []string{`"db"`, "proxy, app"}},
		"secret":              {env, []string{"-f", file, "-c", "app"}, []string{"PASSWORD", "secret db, key password"}},
		"variable":            {env, append([]string{"--env", "NAME"}, bare("true")...), []string{`"NAME"`, "NAME=value"}},
		"unknown program":     {env, bare("podid-no-such-program"), []string{"podid-no-such-program", "not found"}},
		"not a namespace":     {env, []string{"-n", "Carts", "--service-account", "carts", "true"}, []string{`"Carts"`, "namespace"}},
		"not an account":      {env, []string{"--service-account", "Carts", "true"}, []string{`"Carts"`, "service account"}},
		"unknown flag":        {env, []string{"--pod", "x"}, []string{"unknown flag: --pod"}},
		"unknown in PODID_":   {plus(env, "PODID_SKIP_ENV_FROM=perhaps"), bare("true"), []string{"PODID_SKIP_ENV_FROM", "perhaps"}},
		"cluster from PODID_": {plus(env, "PODID_CLUSTER=edge"), bare("true"), []string{"no cluster edge"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := run(t, test.env, "", "podid", append([]string{"run"}, test.args...)...)
			got.line(t, test.wants...)
			for _, secret := range []string{value(env, "AWS_SECRET_ACCESS_KEY"), "leaked"} {
				if strings.Contains(got.stderr, secret) {
					t.Errorf("a secret is in %q", got.stderr)
				}
			}
		})
	}
	checkEmpty(t, env)
}
