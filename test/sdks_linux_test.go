package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// sdks are programs that ask who they are by the default credential chain of an SDK of another language.
var sdks = map[string]struct {
	program string
	uris    []string // of the link, that the SDK takes
}{
	"JavaScript v3": {"sdks/whoami-v3.mjs", []string{overIPv4, overIPv6}},
	"JavaScript v2": {"sdks/whoami-v2.mjs", []string{overIPv4}},
}

// needSDKs skips the test if the SDKs are not installed, but not in CI.
func needSDKs(t *testing.T) {
	t.Helper()
	_, err := os.Stat("sdks/node_modules")
	if err == nil {
		_, err = exec.LookPath("node")
	}
	if err == nil {
		return
	}
	if os.Getenv("CI") == "" {
		t.Skipf("make sdks installs what this takes: %v", err)
	}
	t.Fatal(err)
}

// What other languages' SDKs make of the environment of a pod.
func TestSDKs(t *testing.T) {
	needSDKs(t)
	d, _ := pods(t)
	env := plus(d.env, environment(t)...) // v2 looks into the home directory first, and a pod's has nothing
	for name, sdk := range sdks {
		t.Run(name, func(t *testing.T) {
			got := run(t, env, "", "podid", "run", "-f", "sdks/pod.yaml", "--", "node", sdk.program)
			if got.code != 0 || !strings.Contains(got.stdout, ":assumed-role/carts/eks-local-carts-0-") {
				t.Errorf("got %+v, want a session of carts", got)
			}
		})
	}
}

// SDKs accept plain HTTP only from certain addresses, of which those of the link are two.
func TestSDKsOnLink(t *testing.T) {
	needSDKs(t)
	n := newNode(t)
	n.initialize("--handover-dir", n.handover)
	n.start()
	file := writeFile(t, filepath.Join(t.TempDir(), "token"), n.d.token(t, "carts"), 0o600)
	for name, sdk := range sdks {
		for _, uri := range sdk.uris {
			t.Run(name+" "+uri, func(t *testing.T) {
				var got result
				n.pod.Do(func() {
					got = run(t, environment(t, "AWS_REGION=us-west-2", "AWS_ENDPOINT_URL="+n.sts.url, "AWS_CONTAINER_CREDENTIALS_FULL_URI="+uri,
						"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE="+file), "", "node", sdk.program)
				})
				if got.code != 0 || !strings.Contains(got.stdout, ":assumed-role/carts/eks-local-carts-0-") {
					t.Errorf("got %+v, want a session of carts", got)
				}
			})
		}
	}
}
