package podrun

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/local"
	"github.com/podid/podid/internal/store/storetest"
	"github.com/podid/podid/internal/token"
	"github.com/podid/podid/internal/webhook"
)

// TestMain lets the test binary be the command that is run as a pod: "<binary> child <what to do>".
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "child" {
		child(os.Args[2])
	}
	os.Exit(m.Run())
}

const tokenVariable = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"

// children are what the binary does as a child on some systems only.
var children = map[string]func(){}

// child exits by the system call, since under the race detector os.Exit takes a second.
func child(what string) {
	if do, ok := children[what]; ok {
		do()
	}
	switch what {
	case "env":
		_ = json.NewEncoder(os.Stdout).Encode(os.Environ())
	case "args":
		_ = json.NewEncoder(os.Stdout).Encode(os.Args[3:])
	case "exit 7":
		syscall.Exit(7)
	case "kill":
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	case "token":
		file := os.Getenv(tokenVariable)
		content, err := os.ReadFile(file)
		info, err2 := os.Stat(file)
		dir, err3 := os.Stat(filepath.Dir(filepath.Dir(file)))
		if empty, err := os.ReadFile(os.Getenv("AWS_CONFIG_FILE")); err != nil || len(empty) > 0 {
			fmt.Println("the guard's file:", empty, err)
			syscall.Exit(1)
		}
		if err := errors.Join(err, err2, err3); err != nil {
			fmt.Println(err)
			syscall.Exit(1)
		}
		fmt.Printf("%v %v %s", dir.Mode(), info.Mode(), content)
	case "until the token changes":
		first, _ := os.ReadFile(os.Getenv(tokenVariable))
		fmt.Println("ready")
		for {
			next, err := os.ReadFile(os.Getenv(tokenVariable))
			if err != nil || len(next) < 100 { // renewing must never show
				fmt.Println("token is", len(next), "bytes long:", err)
				syscall.Exit(1)
			}
			if !bytes.Equal(first, next) {
				syscall.Exit(0)
			}
			time.Sleep(time.Millisecond)
		}
	case "catch":
		c := make(chan os.Signal, 1)
		signal.Notify(c, Signals()...)
		fmt.Println("ready")
		s, _ := (<-c).(syscall.Signal)
		syscall.Exit(100 + int(s))
	case "sleep":
		fmt.Println("ready")
		time.Sleep(time.Hour)
	case "group":
		own, err := syscall.Getpgid(0)
		fmt.Println(own == os.Getpid(), err)
	}
	syscall.Exit(0)
}

// signer is shared, since making a key takes long.
var signer = sync.OnceValue(func() *token.Signer {
	key, err := token.GenerateKey()
	if err != nil {
		panic(err)
	}
	s, err := token.NewSigner(key, "https://podid.example.com/id/1")
	if err != nil {
		panic(err)
	}
	return s
})

// newKube starts a cluster in which the service account carts of the namespace carts has an association.
func newKube(t *testing.T, now func() time.Time) *Kube {
	t.Helper()
	kept := storetest.New(t)
	accounts := local.DefineServiceAccounts(kept)
	if err := kept.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	hook, err := webhook.New(webhook.Config{
		Lookup: func(_ context.Context, account identity.ServiceAccount) (webhook.ServiceAccountFacts, error) {
			annotations, found := accounts.Annotations("local", account)
			associated := account == identity.ServiceAccount{Namespace: "carts", Name: "carts"}
			return webhook.ServiceAccountFacts{Associated: associated, Found: found, Annotations: annotations}, nil
		},
		Settings: webhook.Settings{Region: "us-west-2", TokenExpirationSeconds: 600, CredentialsFullURI: "http://127.0.0.1:7078/v1/credentials"},
		Logger:   slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	cluster, err := local.New(local.Config{
		Name: "local", Signer: signer(), Webhook: hook, ServiceAccounts: accounts, Store: kept, Random: rand.Reader, Now: now, Logger: slog.New(slog.DiscardHandler),
		Authorize: func(_ context.Context, bearer identity.Secret) error {
			if bearer != "me" {
				return local.ErrUnauthorized
			}
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.StripPrefix("/k8s/local", cluster))
	t.Cleanup(server.Close)
	return kubeAt(t, server.URL+"/k8s/local")
}

func kubeAt(t *testing.T, endpoint string) *Kube {
	t.Helper()
	kube, err := NewKube(KubeConfig{
		Endpoint: endpoint,
		Bearer:   func(context.Context) (identity.Secret, error) { return "me", nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	return kube
}

// validConfig runs this binary as the pod of a manifest.
func validConfig(t *testing.T, manifest string, what ...string) Config {
	t.Helper()
	pod, err := Load([]byte(manifest), "")
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{
		Kube: newKube(t, time.Now), Pod: pod, TempDir: t.TempDir(), Now: time.Now, Logger: slog.New(slog.DiscardHandler),
	}
	if len(what) > 0 {
		cfg.Command = append([]string{os.Args[0], "child"}, what...)
	}
	return cfg
}

const cartsPod = `
apiVersion: v1
kind: Pod
metadata: {name: carts, namespace: carts, labels: {app: shop}}
spec:
  serviceAccountName: carts
  containers:
  - name: app
    image: example.com/carts:1
`

// run runs a pod to its end, and checks that nothing is left of it.
func run(t *testing.T, cfg Config) (code int, stdout string) {
	t.Helper()
	var out bytes.Buffer
	cfg.Stdout, cfg.Stderr = &out, os.Stderr
	p, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	code, err = p.Wait()
	if err != nil {
		t.Fatal(err)
	}
	checkClean(t, cfg)
	return code, out.String()
}

func checkClean(t *testing.T, cfg Config) {
	t.Helper()
	left, err := os.ReadDir(cfg.TempDir)
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestToken(t *testing.T) {
	_, out := run(t, validConfig(t, cartsPod, "token"))
	fields := strings.SplitN(out, " ", 3)
	if len(fields) != 3 || fields[0] != "drwx------" || fields[1] != "-rw-------" {
		t.Fatalf("directory, file and token: %q", out)
	}
	parts := strings.Split(fields[2], ".")
	if len(parts) != 3 {
		t.Fatalf("token %q", fields[2])
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims struct {
		Audience   []string `json:"aud"`
		Subject    string   `json:"sub"`
		Issued     int64    `json:"iat"`
		Expires    int64    `json:"exp"`
		Kubernetes struct {
			Pod struct{ Name, UID string }
		} `json:"kubernetes.io"`
	}
	if err := json.Unmarshal(payload, &claims); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(claims.Audience, []string{"pods.eks.amazonaws.com"}) || claims.Subject != "system:serviceaccount:carts:carts" ||
		claims.Expires-claims.Issued != 600 || claims.Kubernetes.Pod.Name != "carts" || len(claims.Kubernetes.Pod.UID) != 36 {
		t.Errorf("claims %+v", claims)
	}
}

// TestTokenIsRenewed moves the clock to just before the time of renewal, then past it.
func TestTokenIsRenewed(t *testing.T) {
	var ahead atomic.Int64
	now := func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	cfg := validConfig(t, cartsPod, "until the token changes")
	cfg.Kube, cfg.Now, cfg.sleep = newKube(t, now), now, time.Millisecond
	p := startReady(t, cfg)
	ahead.Store(int64(481 * time.Second)) // of 600, of which 80 % are 480
	if code, err := p.Wait(); code != 0 || err != nil {
		t.Errorf("got %d, %v, want 0", code, err)
	}
	checkClean(t, cfg)
}

func TestExitCode(t *testing.T) {
	for what, want := range map[string]int{"nothing": 0, "exit 7": 7, "kill": 128 + 9} {
		if code, _ := run(t, validConfig(t, cartsPod, what)); code != want {
			t.Errorf("%s: got %d, want %d", what, code, want)
		}
	}
}

// startReady starts a pod and waits until its command has said "ready".
func startReady(t *testing.T, cfg Config) *Process {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cfg.Stdout, cfg.Stderr = w, os.Stderr
	p, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	t.Cleanup(func() { r.Close() })
	line := make([]byte, len("ready\n"))
	if _, err := io.ReadFull(r, line); err != nil || string(line) != "ready\n" {
		t.Fatalf("got %q, %v", line, err)
	}
	go io.Copy(os.Stderr, r)
	return p
}

func TestSignal(t *testing.T) {
	type row struct {
		what string
		sig  syscall.Signal
		want int
	}
	rows := []row{{"sleep", syscall.SIGTERM, 128 + 15}}
	for _, sig := range Signals() {
		s := sig.(syscall.Signal)
		rows = append(rows, row{"catch", s, 100 + int(s)})
	}
	for _, r := range rows {
		cfg := validConfig(t, cartsPod, r.what)
		p := startReady(t, cfg)
		if err := p.Signal(r.sig); err != nil {
			t.Fatal(err)
		}
		if code, err := p.Wait(); code != r.want || err != nil {
			t.Errorf("%v to %s: got %d, %v, want %d", r.sig, r.what, code, err, r.want)
		}
		checkClean(t, cfg)
		if err := p.Signal(r.sig); err != nil {
			t.Errorf("%v after the end: %v", r.sig, err)
		}
	}
}

func TestOwnGroup(t *testing.T) {
	if _, out := run(t, validConfig(t, cartsPod, "group")); out != "true <nil>\n" {
		t.Errorf("leads a process group: %s", out)
	}
}

func TestContextEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cfg := validConfig(t, cartsPod, "sleep")
	p, err := Start(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if code, err := p.Wait(); code != 128+15 || err != nil {
		t.Errorf("got %d, %v, want 143", code, err)
	}
	checkClean(t, cfg)
}

func TestAdmitted(t *testing.T) {
	cfg := validConfig(t, cartsPod+"    env: [{name: AWS_ACCESS_KEY_ID, value: x}]\n", "nothing")
	p, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Wait(); err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(p.Admitted(), []byte(`"eks.amazonaws.com/pod-identity":"enabled"`)) {
		t.Errorf("admitted %s", p.Admitted())
	}
	want := []string{`container "app" sets AWS_ACCESS_KEY_ID, which AWS SDKs use instead of Pod Identity`}
	if diff := cmp.Diff(want, p.Warnings()); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
	if !slices.Contains(p.Env(), "AWS_REGION=us-west-2") {
		t.Errorf("env %q", p.Env())
	}
}

func TestCommandOfManifest(t *testing.T) {
	manifest := cartsPod + `    command: ["` + os.Args[0] + `", child, args]
    args: ["$(A)", "$(AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE)", "$(HOME)", "$$(A)", "$(B)"]
    env: [{name: A, value: pod}]
`
	cfg := validConfig(t, manifest)
	cfg.ExtraEnv = []string{"A=extra", "B=more"}
	cfg.Environ = []string{"HOME=/home/me"}
	_, out := run(t, cfg)
	var args []string
	if err := json.Unmarshal([]byte(out), &args); err != nil {
		t.Fatal(err)
	}
	if len(args) != 5 || args[0] != "extra" || args[4] != "more" ||
		!strings.HasPrefix(args[1], cfg.TempDir) || args[2] != "$(HOME)" || args[3] != "$(A)" {
		t.Errorf("args %q", args)
	}
}

func TestContainer(t *testing.T) {
	manifest := `
kind: Pod
metadata: {name: carts, namespace: carts, annotations: {}}
spec:
  initContainers:
  - {name: schema, env: [{name: WHO, value: schema}]}
  containers:
  - {name: proxy, env: [{name: WHO, value: proxy}]}
  - {name: app, env: [{name: WHO, value: app}]}
`
	annotated := strings.Replace(manifest, "{}", "{kubectl.kubernetes.io/default-container: app}", 1)
	for name, test := range map[string]struct{ manifest, container, want string }{
		"first":          {manifest, "", "proxy"},
		"annotated":      {annotated, "", "app"},
		"named":          {annotated, "proxy", "proxy"},
		"init container": {manifest, "schema", "schema"},
	} {
		cfg := validConfig(t, test.manifest, "env")
		cfg.Container = test.container
		if _, out := run(t, cfg); !strings.Contains(out, `"WHO=`+test.want+`"`) {
			t.Errorf("%s: got %s, want %s", name, out, test.want)
		}
	}
}
