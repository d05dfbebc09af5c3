package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMain lets the tests run the program itself: the test binary is podid-agent when this variable is set.
func TestMain(m *testing.M) {
	if os.Getenv("RUN_AS_PODID_AGENT") != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// eksAuth grants whatever it is asked for, with tokens as long as AWS's.
func eksAuth(t testing.TB) *httptest.Server {
	t.Helper()
	session := strings.Repeat("IQoJb3JpZ2luX2VjEXAMPLE+", 40)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/clusters/demo/assume-role-for-pod-identity" ||
			!strings.Contains(r.Header.Get("Authorization"), "/eu-central-1/eks-auth/aws4_request") {
			http.Error(w, "bad request", http.StatusBadRequest)
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
		fmt.Fprintf(w, `{"credentials":{"accessKeyId":"ASIAIOSFODNN7EXAMPLE","secretAccessKey":"%s","sessionToken":"%s","expiration":%d},
			"assumedRoleUser":{"arn":"arn:aws:sts::111122223333:assumed-role/web/eks-demo"}}`,
			strings.Repeat("s", 40), session, time.Now().Add(6*time.Hour).Unix())
	}))
	t.Cleanup(server.Close)
	return server
}

// token is a service-account token of a pod, as long as a kubelet's.
func token(pod int) string {
	claims, err := json.Marshal(map[string]any{
		"aud": []string{"pods.eks.amazonaws.com"}, "exp": time.Now().Add(24 * time.Hour).Unix(), "iss": "https://oidc.example.com/id/1",
		"sub": "system:serviceaccount:carts:carts", "jti": strings.Repeat("j", 36),
		"kubernetes.io": map[string]any{
			"namespace":      "carts",
			"pod":            map[string]string{"name": fmt.Sprint("carts-", pod), "uid": fmt.Sprintf("5a20f883-0000-4000-8000-%012d", pod)},
			"serviceaccount": map[string]string{"name": "carts", "uid": "a720ba5c-0000-4000-8000-000000000000"},
			"node":           map[string]string{"name": "node-1.example.com", "uid": "a720ba5c-0000-4000-8000-000000000001"},
		},
	})
	if err != nil {
		panic(err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(`{"alg":"RS256","kid":"1"}`)) + "." + encode(claims) + "." + encode(make([]byte, 256))
}

// environment is what an agent needs, without what the one who runs the tests has.
func environment(t testing.TB, more ...string) []string {
	home := t.TempDir()
	return append([]string{
		"HOME=" + home, "PATH=" + os.Getenv("PATH"), "RUN_AS_PODID_AGENT=1", "AWS_REGION=eu-central-1", "AWS_EC2_METADATA_DISABLED=true",
		"AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY=agent-secret",
	}, more...)
}

// withoutKeys is the same for an agent that finds its credentials elsewhere.
func withoutKeys(t testing.TB, more ...string) []string {
	isKey := func(s string) bool { return strings.HasPrefix(s, "AWS_ACCESS") || strings.HasPrefix(s, "AWS_SECRET") }
	return append(slices.DeleteFunc(environment(t), isKey), more...)
}

func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

// startAgent runs the program until the test ends and returns its process and its port.
func startAgent(t testing.TB, program string, env []string, args ...string) (*exec.Cmd, string) {
	t.Helper()
	port := freePort(t)
	cmd := exec.Command(program, append([]string{"server", "-b", "127.0.0.1", "-p", port, "--probe-port", freePort(t),
		"--metrics-address", "127.0.0.1", "--metrics-port", freePort(t)}, args...)...)
	cmd.Env = env
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_, _ = io.Copy(io.Discard, stderr)
		if err := cmd.Wait(); err != nil {
			t.Errorf("the agent ended with %v", err)
		}
	})
	lines := bufio.NewScanner(stderr)
	for lines.Scan() {
		if strings.Contains(lines.Text(), "agent serves") {
			go func() { _, _ = io.Copy(io.Discard, stderr) }()
			return cmd, port
		}
		t.Log(lines.Text())
	}
	t.Fatal("the agent does not serve")
	return nil, ""
}

func get(t testing.TB, client *http.Client, port, token string) (int, string) {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, "http://127.0.0.1:"+port+"/v1/credentials", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", token)
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestServer(t *testing.T) {
	upstream := eksAuth(t)
	shared := filepath.Join(t.TempDir(), "credentials")
	if err := os.WriteFile(shared, []byte("[default]\naws_access_key_id = AKIA2\naws_secret_access_key = s\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		env  []string
		args []string
	}{
		"flags":           {environment(t), []string{"--cluster-name", "demo", "--endpoint", upstream.URL, "-v", "trace"}},
		"environment":     {environment(t, "PODID_AGENT_CLUSTER_NAME=demo", "PODID_AGENT_ENDPOINT="+upstream.URL), nil},
		"flag before env": {environment(t, "PODID_AGENT_CLUSTER_NAME=other"), []string{"-c", "demo", "--endpoint", upstream.URL}},
		"rotated credentials": {withoutKeys(t, "AWS_SHARED_CREDENTIALS_FILE="+shared),
			[]string{"-c", "demo", "--endpoint", upstream.URL, "--rotate-credentials"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, port := startAgent(t, os.Args[0], tt.env, tt.args...)
			if status, body := get(t, http.DefaultClient, port, token(1)); status != 200 || !strings.Contains(body, "ASIAIOSFODNN7EXAMPLE") {
				t.Errorf("got %d %s", status, body)
			}
		})
	}
}

// The probe says what the agent says, and by its exit code whether it is ready.
func TestProbe(t *testing.T) {
	port := freePort(t)
	run := func() (string, int) {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "probe", "--probe-port", port, "--timeout", "5s")
		cmd.Env = environment(t)
		out, _ := cmd.CombinedOutput()
		return string(out), cmd.ProcessState.ExitCode()
	}
	if out, code := run(); code != 1 || !strings.HasPrefix(out, "podid-agent: the agent does not answer: dial tcp ") {
		t.Errorf("without an agent: %d %q", code, out)
	}
	serve := func(status int, body string) func() {
		l, err := net.Listen("tcp", "127.0.0.1:"+port)
		if err != nil {
			t.Fatal(err)
		}
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.String() != "/readyz?verbose" {
				status = http.StatusNotFound
			}
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		})}
		go func() { _ = server.Serve(l) }()
		return func() { _ = server.Close() }
	}
	stop := serve(500, "Internal Server Error occurred\n127.0.0.1 does not serve: connection refused\n")
	want := "podid-agent: the agent is not ready: 500 Internal Server Error\nInternal Server Error occurred\n127.0.0.1 does not serve: connection refused\n"
	if out, code := run(); code != 1 || out != want {
		t.Errorf("of an agent that is not ready: %d %q", code, out)
	}
	stop()
	_, _ = startAgent(t, os.Args[0], environment(t), "-c", "demo", "--endpoint", "http://127.0.0.1:1", "--probe-port", port)
	if out, code := run(); code != 0 || out != "127.0.0.1 serves\n" {
		t.Errorf("of an agent: %d %q", code, out)
	}
}

// What cannot work is said in one line.
func TestRefusedStart(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := strconv.Itoa(taken.Addr().(*net.TCPAddr).Port)
	for name, tt := range map[string]struct {
		env  []string
		args []string
		want string
	}{
		"port taken": {environment(t), []string{"server", "-c", "demo", "-b", "127.0.0.1", "-p", port},
			"podid-agent: opening the credentials endpoint: listen tcp 127.0.0.1:" + port + ": bind: address already in use\n"},
		"no cluster": {environment(t), []string{"server"}, "podid-agent: cluster name \"\": want 1 to 100 letters, digits, - and _\n"},
		"no region":  {environment(t, "AWS_REGION="), []string{"server", "-c", "demo"}, "podid-agent: no region: set AWS_REGION\n"},
		"verbosity": {environment(t), []string{"server", "-c", "demo", "-v", "loud"},
			"podid-agent: verbosity \"loud\": want trace, debug, info, warn, error, fatal or panic\n"},
		"environment": {environment(t, "PODID_AGENT_MAX_CACHE_SIZE=many"), []string{"server", "-c", "demo"},
			"podid-agent: reading PODID_AGENT_MAX_CACHE_SIZE: invalid argument \"many\" for \"--max-cache-size\" flag: " +
				"strconv.ParseInt: parsing \"many\": invalid syntax\n"},
		"unknown flag": {environment(t), []string{"server", "--clustername", "demo"}, "podid-agent: unknown flag: --clustername\n"},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), os.Args[0], tt.args...)
			var stderr bytes.Buffer
			cmd.Env, cmd.Stderr = tt.env, &stderr
			_ = cmd.Run()
			if got := stderr.String(); got != tt.want || cmd.ProcessState.ExitCode() != 1 {
				t.Errorf("exit code %d with %q, want 1 with %q", cmd.ProcessState.ExitCode(), got, tt.want)
			}
		})
	}
}

// The flags and their defaults are those of Amazon's agent, so that its chart's arguments fit.
func TestFlags(t *testing.T) {
	server, _, err := command().Find([]string{"server"})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][2]string{ // shorthand, default
		"cluster-name": {"c", ""}, "port": {"p", "80"}, "probe-port": {"", "2703"}, "metrics-address": {"", "0.0.0.0"},
		"metrics-port": {"", "2705"}, "bind-hosts": {"b", "[169.254.170.23,[fd00:ec2::23]]"}, "max-cache-size": {"", "2000"},
		"max-credential-retention-before-renewal": {"", "3h0m0s"}, "max-service-qps": {"", "3"},
		"rotate-credentials": {"", "false"}, "endpoint": {"", ""},
		"follow-associations":     {"", "false"}, // Amazon's has none
		"max-requests-per-source": {"", "1000"},  // Amazon's is for all addresses together, and not a flag
	} {
		f := server.Flags().Lookup(name)
		if f == nil {
			t.Errorf("no flag %s", name)
		} else if got := [2]string{f.Shorthand, f.DefValue}; got != want {
			t.Errorf("flag %s: %q, want %q", name, got, want)
		}
	}
	if f := server.InheritedFlags().Lookup("verbosity"); f == nil || f.Shorthand != "v" {
		t.Errorf("flag verbosity: %+v", f)
	}
}

// BenchmarkResident builds the program as it is shipped and reports its size, and its resident memory with 2,000 pods in the cache:
// at once after they have come, each on a connection of its own and eight at a time, and when it has come to rest.
func BenchmarkResident(b *testing.B) {
	const pods, atOnce = 2000, 8
	program := filepath.Join(b.TempDir(), "podid-agent")
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", program, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	info, err := os.Stat(program)
	if err != nil {
		b.Fatal(err)
	}
	upstream := eksAuth(b)
	for b.Loop() {
		cmd, port := startAgent(b, program, environment(b), "-c", "demo", "--endpoint", upstream.URL)
		work := make(chan int)
		done := make(chan bool)
		for range atOnce {
			go func() {
				for pod := range work {
					from := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 1, byte(pod/250), byte(1+pod%250))}} // as pods have one
					client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: from.DialContext}}
					status, body := get(b, client, port, token(pod))
					if status != http.StatusOK {
						b.Errorf("got %d %s", status, body)
					}
				}
				done <- true
			}()
		}
		for pod := range pods {
			work <- pod
		}
		close(work)
		for range atOnce {
			<-done
		}
		b.ReportMetric(resident(b, cmd.Process.Pid, "VmHWM"), "peak-MiB")
		time.Sleep(restInterval + time.Second)
		b.ReportMetric(resident(b, cmd.Process.Pid, "VmRSS"), "resident-MiB")
	}
	b.ReportMetric(float64(info.Size())/(1<<20), "binary-MiB")
}

// resident reads a line of /proc/<pid>/status, in MiB.
func resident(b *testing.B, pid int, name string) float64 {
	b.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		b.Skipf("no /proc here: %v", err)
	}
	_, rest, _ := strings.Cut(string(status), name+":")
	var kilobytes float64
	if _, err := fmt.Sscan(rest, &kilobytes); err != nil {
		b.Fatal(err)
	}
	return kilobytes / 1024
}
