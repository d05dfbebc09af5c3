package test

import (
	"strings"
	"testing"
)

// A cluster is registered with what admin.env says and nothing else, and forgotten again.
func TestRegisterCluster(t *testing.T) {
	d := startDev(t, dataDir(t))
	const issuer = "https://issuer.example.com/metal"
	got := run(t, d.env, "", "podid", "cluster", "register", "metal", "--issuer", issuer)
	if got.code != 0 || !strings.Contains(got.stdout, "Cluster metal is registered. Its tokens are issued by "+issuer) || got.stderr != "" {
		t.Fatalf("registering: got %+v", got)
	}
	if got := run(t, d.env, "", "podid", "cluster", "list"); got.code != 0 || !strings.Contains(got.stdout, issuer) {
		t.Errorf("list: got %+v", got)
	}
	if got := run(t, d.env, "", "podid", "cluster", "remove", "metal"); got.code != 0 || got.stderr != "" {
		t.Errorf("removing: got %+v", got)
	}
	run(t, d.env, "", "podid", "cluster", "describe", "metal").line(t, "No cluster found for name: metal. (ResourceNotFoundException)")
	run(t, append(d.env, "KUBECONFIG="+t.TempDir()+"/none"), "", "podid", "cluster", "register", "metal").line(t, "--kubeconfig")
	run(t, append(d.env, "AWS_ENDPOINT_URL=http://127.0.0.1:1"), "", "podid", "cluster", "list").line(t, "nothing listens there")
}
