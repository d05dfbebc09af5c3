package internal_test

import (
	"errors"
	"go/build"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/podid/podid/"

// rule is what a package may import besides the standard library. A prefix stands for all packages that begin with it.
type rule struct {
	own   string // packages of this module, without internal/, separated by spaces
	other string // prefixes of other modules' packages, separated by spaces
}

const (
	awsSDK  = "github.com/aws/"
	metrics = "github.com/prometheus/client_golang/"
	async   = "golang.org/x/sync/"
)

// rules say who may import whom, in the order of the tiers: a package imports only what stands above it, services never import
// each other, and programs on the other side of the wire never import a service or the store. A package that is not here fails
// the test: whoever adds one decides where it stands.
var rules = map[string]rule{
	// Tier 0: facts and rules. No I/O, no clock, no log.
	"internal/identity": {},
	"internal/policy":   {own: "identity"},
	"internal/sigv4":    {own: "identity"},

	// Tier 1: one outside world each, and what all services stand on.
	"internal/store":           {own: "identity", other: "go.etcd.io/etcd/ go.uber.org/zap"},
	"internal/store/storetest": {own: "store", other: "go.etcd.io/etcd/ go.uber.org/zap"},
	"internal/credential":      {own: "identity"},
	"internal/token":           {own: "identity", other: "github.com/go-jose/go-jose/v4 " + async},
	"internal/audit":           {own: "identity"},
	"internal/directory":       {own: "identity policy store"},
	"internal/denial":          {own: "identity policy credential"},
	"internal/authn":           {own: "identity sigv4 credential directory"},
	"internal/assume":          {own: "identity policy credential store directory", other: awsSDK},
	"internal/wire":            {own: "identity audit authn denial directory", other: metrics},

	// Tier 2: one package for each service.
	"internal/eks":     {own: "identity policy store directory credential token wire"},
	"internal/eksauth": {own: "identity policy store directory authn token assume wire"},
	"internal/sts":     {own: "identity policy store directory authn token assume denial wire"},
	"internal/iam":     {own: "identity policy store directory credential authn wire"},

	// Tier 3: programs.
	"internal/feed":    {own: "identity", other: awsSDK},
	"internal/webhook": {own: "identity", other: awsSDK + " k8s.io/ sigs.k8s.io/ github.com/evanphx/json-patch/v5 " + metrics},
	"internal/agent":   {own: "identity feed", other: awsSDK + " golang.org/x/sys/unix golang.org/x/time/rate " + metrics + " " + async},
	"internal/s3front": {own: "identity policy sigv4", other: "github.com/rclone/gofakes3"},
	"internal/local":   {own: "identity store token webhook", other: "github.com/evanphx/json-patch/v5 github.com/google/uuid sigs.k8s.io/yaml"},
	"internal/podrun":  {own: "identity webhook local", other: awsSDK + " golang.org/x/sys/unix sigs.k8s.io/yaml " + async},

	"internal/kube":                {other: "k8s.io/client-go/"},
	"internal/kube/kubetest":       {own: "kube", other: "github.com/evanphx/json-patch/v5 k8s.io/client-go/"},
	"internal/webhook/certificate": {own: "kube"},
	"internal/webhook/facts":       {own: "identity feed kube webhook", other: "golang.org/x/time/rate " + async},
	"internal/webhook/program":     {own: "feed kube webhook/certificate webhook/facts webhook/serving", other: awsSDK + " github.com/spf13/"},
	"internal/webhook/serving":     {own: "webhook webhook/certificate webhook/facts", other: metrics + " " + async},

	"internal/link":           {other: "github.com/vishvananda/netlink golang.org/x/sys/unix"},
	"internal/link/netnstest": {other: "github.com/vishvananda/ golang.org/x/sys/unix"},

	"internal/server": {
		own:   "identity policy sigv4 store credential token audit directory denial authn assume wire eks eksauth sts iam webhook local s3front",
		other: metrics + " " + async,
	},
	"internal/server/servertest": {own: "identity server podrun", other: awsSDK},
	"internal/dev":               {own: "identity server agent local podrun webhook", other: awsSDK + " " + metrics + " " + async},

	"internal/registration": {other: awsSDK + " k8s.io/client-go/"},

	"internal/cani": {own: "identity policy", other: awsSDK + " " + async},
	"internal/demo": {own: "examples identity dev podrun", other: awsSDK},

	// What users see.
	"cmd/podid": {
		own:   "identity policy store server dev demo webhook webhook/certificate webhook/program agent local podrun cani registration",
		other: awsSDK + " github.com/spf13/ k8s.io/client-go/ sigs.k8s.io/yaml " + metrics + " " + async,
	},
	"cmd/podid-webhook":   {own: "webhook/program", other: "github.com/spf13/"},
	"cmd/podid-agent":     {own: "identity feed agent link", other: awsSDK + " github.com/spf13/"},
	"examples":            {},
	"examples/list-files": {other: awsSDK},
}

// allows tells whether a package with this rule may import path.
func (r rule) allows(path string) bool {
	if own, ok := strings.CutPrefix(path, module); ok {
		return slices.Contains(strings.Fields(r.own), strings.TrimPrefix(own, "internal/"))
	}
	if !strings.Contains(strings.SplitN(path, "/", 2)[0], ".") {
		return true // the standard library
	}
	return slices.ContainsFunc(strings.Fields(r.other), func(prefix string) bool { return strings.HasPrefix(path, prefix) })
}

// TestImports checks every package of the module, without its tests, against the rules. It reads the files itself, and does not
// ask "go list", so that a cached result of this test ends with the first file that changes.
func TestImports(t *testing.T) {
	unseen := maps.Clone(rules)
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.IsDir() {
			return err
		}
		name := filepath.ToSlash(strings.TrimPrefix(path, ".."+string(filepath.Separator)))
		if path != ".." && (strings.HasPrefix(entry.Name(), ".") || slices.Contains([]string{"testdata", "node_modules"}, entry.Name()) || isModule(path)) {
			return fs.SkipDir
		}
		p, err := build.ImportDir(path, 0)
		if _, none := errors.AsType[*build.NoGoError](err); none {
			return nil
		}
		if err != nil {
			return err
		}
		check(t, name, p.Imports)
		delete(unseen, name)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name := range unseen {
		t.Errorf("there is a rule for %s, which does not exist", name)
	}
}

// isModule tells whether a directory is a module of its own.
func isModule(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "go.mod"))
	return err == nil
}

func check(t *testing.T, name string, imports []string) {
	t.Helper()
	r, ok := rules[name]
	if !ok && len(imports) > 0 {
		t.Errorf("%s has no rule: give it a place in the tiers", name)
		return
	}
	for _, path := range imports {
		if !r.allows(path) {
			t.Errorf("%s must not import %s", name, path)
		}
	}
}
