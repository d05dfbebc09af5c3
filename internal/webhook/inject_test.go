package webhook

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	jsonpatch "github.com/evanphx/json-patch/v5"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"pgregory.net/rapid"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "write the out.yaml of every case anew")

// half is the jitter of the tests: always the middle.
func half(n int64) int64 { return n / 2 }

// TestInject takes every pod of testdata through the mutation: in.yaml, with given.yaml where there is one, must become
// out.yaml, whose first document holds the method and the warnings.
//
// All pods but those whose given.yaml has Differs come out as Amazon's webhook changes them (its commit 3bf80a3, jitter aside; the
// patches differ in all). The differences are listed in docs/webhook.md.
func TestInject(t *testing.T) {
	cases, err := filepath.Glob("testdata/*/in.yaml")
	if err != nil || len(cases) < 60 {
		t.Fatalf("%d cases: %v", len(cases), err)
	}
	for _, in := range cases {
		dir := filepath.Dir(in)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			given := readGiven(t, dir)
			pod := readYAML(t, in)
			m, err := Inject(pod, given.ServiceAccount, given.Settings)
			if err != nil {
				t.Fatal(err)
			}
			changed := apply(t, pod, m)
			checkInvariants(t, pod, changed, given)
			if dir != "testdata/unknown-fields" {
				checkType(t, changed)
			}

			warnings, err := yaml.Marshal(map[string]any{"method": m.Method, "warnings": m.Warnings})
			if err != nil {
				t.Fatal(err)
			}
			body, err := yaml.JSONToYAML(changed)
			if err != nil {
				t.Fatal(err)
			}
			got := string(warnings) + "---\n" + string(body)
			out := filepath.Join(dir, "out.yaml")
			if *update {
				if err := os.WriteFile(out, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(out)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("mutated pod (-want +got):\n%s", diff)
			}
		})
	}
}

func TestInjectRefusesWhatIsNoPod(t *testing.T) {
	for _, data := range []string{"", "{", "null", "[]", `"pod"`, "{}", `{"spec":null}`, `{"spec":[]}`, `{"spec":{"containers":{}}}`} {
		if m, err := Inject([]byte(data), associated, Settings{}); err == nil {
			t.Errorf("Inject(%q) = %+v, want an error", data, m)
		}
	}
}

// TestPatchIsMinimal reads the patch itself: what a golden pod does not show is that nothing was rewritten.
func TestPatchIsMinimal(t *testing.T) {
	pod := `{"metadata":{"labels":{"app":"x"}},"spec":{"volumes":[{"name":"v"}],"containers":[
		{"name":"a","env":[{"name":"A"}],"volumeMounts":[{"name":"v"}]},{"name":"b"}]}}`
	m, err := Inject([]byte(pod), associated, Settings{Region: "us-west-2"})
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, op := range m.Patch {
		paths = append(paths, op.Op+" "+op.Path)
	}
	want := []string{
		"add /metadata/labels/eks.amazonaws.com~1pod-identity",
		"add /spec/volumes/0",
		"add /spec/containers/0/env/-", // region, twice
		"add /spec/containers/0/env/-",
		"add /spec/containers/0/env/-", // keys
		"add /spec/containers/0/env/-",
		"add /spec/containers/0/volumeMounts/-",
		"add /spec/containers/1/env",
		"add /spec/containers/1/volumeMounts",
	}
	if diff := cmp.Diff(want, paths); diff != "" {
		t.Errorf("patch (-want +got):\n%s", diff)
	}
}

// TestPatchOfExceptions does the same for the one thing that is replaced.
func TestPatchOfExceptions(t *testing.T) {
	pod := `{"metadata":{},"spec":{"initContainers":[{"name":"a","env":[{"name":"A"},{"name":"no_proxy"},{"name":"NO_PROXY","value":".svc"}]}]}}`
	m, err := Inject([]byte(pod), associated, Settings{AppendNoProxy: true})
	if err != nil {
		t.Fatal(err)
	}
	const hosts = "169.254.170.23,[fd00:ec2::23]"
	want := []Operation{
		{"replace", "/spec/initContainers/0/env/2/value", ".svc," + hosts},
		{"add", "/spec/initContainers/0/env/1/value", hosts},
	}
	if diff := cmp.Diff(want, m.Patch[2:4]); diff != "" { // after label and volume
		t.Errorf("patch (-want +got):\n%s", diff)
	}
}

func TestJitter(t *testing.T) {
	const pod = `{"metadata":{},"spec":{"containers":[{"name":"a"}]}}`
	for name, test := range map[string]struct {
		setting int64
		jitter  func(int64) int64
		want    int64
	}{
		"none":               {86400, nil, 86400},
		"least":              {86400, func(int64) int64 { return 0 }, 86400},
		"most":               {86400, func(n int64) int64 { return n - 1 }, 79200},
		"default":            {0, func(n int64) int64 { return n - 1 }, 79200},
		"not of other lives": {86399, func(n int64) int64 { return n - 1 }, 86399},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := Inject([]byte(pod), associated, Settings{TokenExpirationSeconds: test.setting, Jitter: test.jitter})
			if err != nil {
				t.Fatal(err)
			}
			var p struct {
				Spec struct {
					Volumes []struct {
						Projected struct {
							Sources []struct {
								ServiceAccountToken struct{ ExpirationSeconds int64 }
							}
						}
					}
				}
			}
			if err := json.Unmarshal(apply(t, []byte(pod), m), &p); err != nil {
				t.Fatal(err)
			}
			if got := p.Spec.Volumes[0].Projected.Sources[0].ServiceAccountToken.ExpirationSeconds; got != test.want {
				t.Errorf("token lives %d s, want %d", got, test.want)
			}
		})
	}
}

// TestInjectOddPods builds pods that no person would write.
func TestInjectOddPods(t *testing.T) {
	variables := []string{
		"A", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_STS_REGIONAL_ENDPOINTS", "AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID",
		"AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE",
		"HTTP_PROXY", "NO_PROXY", "no_proxy",
	}
	names := rapid.SampledFrom([]string{"app", "proxy", "", "a/b", "a~1b", "ü"})
	volumes := rapid.SampledFrom([]string{"eks-pod-identity-token", "aws-iam-token", "cache", "v"})
	item := func(name *rapid.Generator[string]) *rapid.Generator[any] {
		return rapid.Custom(func(t *rapid.T) any {
			return map[string]any{"name": name.Draw(t, "name"), "unknown": rapid.Int().Draw(t, "unknown")}
		})
	}
	list := func(of *rapid.Generator[any]) *rapid.Generator[any] {
		return rapid.OneOf(rapid.Just[any](nil), rapid.Map(rapid.SliceOfN(of, 0, 4), func(s []any) any { return s }))
	}
	text := rapid.SampledFrom([]string{"", "app", "app,proxy", `"`, "600", "86400", "-5", "9999999999999999999", "enabled", "windows"})
	texts := func(keys ...string) *rapid.Generator[any] {
		return rapid.OneOf(rapid.Just[any](nil), rapid.Map(rapid.MapOf(rapid.SampledFrom(keys), text), func(m map[string]string) any { return m }))
	}
	object := func(fields map[string]*rapid.Generator[any]) *rapid.Generator[any] {
		return rapid.Custom(func(t *rapid.T) any {
			o := map[string]any{}
			for field, value := range fields {
				if rapid.Bool().Draw(t, "has "+field) {
					o[field] = value.Draw(t, field)
				}
			}
			return o
		})
	}
	variable := rapid.Custom(func(t *rapid.T) any {
		v := map[string]any{"name": rapid.SampledFrom(variables).Draw(t, "name"), "unknown": rapid.Int().Draw(t, "unknown")}
		switch rapid.IntRange(0, 3).Draw(t, "form") {
		case 0:
			v["value"] = nil
		case 1:
			v["value"] = rapid.SampledFrom([]string{"", "*", "a, b", "169.254.170.23", "$(A),[fd00:ec2::23]"}).Draw(t, "value")
		case 2:
			v["valueFrom"] = map[string]any{"fieldRef": map[string]any{}}
		}
		return v
	})
	containers := list(rapid.OneOf(rapid.Just[any](nil), object(map[string]*rapid.Generator[any]{
		"name":         rapid.Map(names, func(s string) any { return s }),
		"env":          list(variable),
		"envFrom":      list(object(map[string]*rapid.Generator[any]{"secretRef": rapid.Just[any](map[string]any{})})),
		"volumeMounts": list(item(volumes)),
		"unknown":      rapid.Just[any]([]any{1.5, nil, "x"}),
	})))
	pods := object(map[string]*rapid.Generator[any]{
		"metadata": object(map[string]*rapid.Generator[any]{
			"labels":      texts(Label, "app", skipLabel, "eks.amazonaws.com/compute-type"),
			"annotations": texts("eks.amazonaws.com/skip-containers", "eks.amazonaws.com/token-expiration"),
		}),
		"unknown": rapid.Just[any](true),
	})
	specs := object(map[string]*rapid.Generator[any]{
		"volumes":             list(item(volumes)),
		"containers":          containers,
		"initContainers":      containers,
		"ephemeralContainers": containers,
		"nodeSelector":        texts("kubernetes.io/os"),
		"hostNetwork":         rapid.OneOf(rapid.Just[any](nil), rapid.Map(rapid.Bool(), func(b bool) any { return b })),
	})
	facts := rapid.Custom(func(t *rapid.T) ServiceAccountFacts {
		f := ServiceAccountFacts{Associated: rapid.Bool().Draw(t, "associated")}
		if rapid.Bool().Draw(t, "annotated") {
			f.Annotations = rapid.MapOf(rapid.SampledFrom([]string{
				"eks.amazonaws.com/role-arn", "eks.amazonaws.com/audience", "eks.amazonaws.com/sts-regional-endpoints",
				"eks.amazonaws.com/token-expiration",
			}), text).Draw(t, "annotations")
		}
		if rapid.Bool().Draw(t, "mapped") {
			f.Mapped = &MappedRole{RoleARN: "carts", TokenExpiration: rapid.Int64().Draw(t, "expiration")}
		}
		return f
	})
	settings := rapid.Custom(func(t *rapid.T) Settings {
		s := Settings{
			Jitter: half, RegionalSTS: rapid.Bool().Draw(t, "regional STS"), AppendNoProxy: rapid.Bool().Draw(t, "append no proxy"),
			HostNetworkWithoutAgent: rapid.Bool().Draw(t, "host network without agent"),
		}
		if rapid.Bool().Draw(t, "region") {
			s.Region = "us-west-2"
		}
		if rapid.Bool().Draw(t, "endpoint") {
			s.EndpointURL = "https://podid.example.com"
		}
		return s
	})
	rapid.Check(t, func(t *rapid.T) {
		pod := pods.Draw(t, "pod").(map[string]any)
		pod["spec"] = specs.Draw(t, "spec")
		data, err := json.Marshal(pod)
		if err != nil {
			t.Fatal(err)
		}
		given := given{settings.Draw(t, "settings"), facts.Draw(t, "facts")}
		m, err := Inject(data, given.ServiceAccount, given.Settings)
		if err != nil {
			t.Fatal(err)
		}
		checkInvariants(t, data, apply(t, data, m), given)
	})
}

// checkInvariants checks what holds for every pod: injecting again changes nothing, and taking the additions away again leaves
// the pod that was there before, every unknown field of it included.
func checkInvariants(t tester, before, after []byte, given given) {
	t.Helper()
	again, err := Inject(after, given.ServiceAccount, given.Settings)
	if err != nil {
		t.Fatalf("injecting again: %v", err)
	}
	if len(again.Patch) != 0 {
		t.Fatalf("injecting again patches: %+v", again.Patch)
	}
	was, is := decode(t, before), decode(t, after)
	strip(was, is, given.Settings.AppendNoProxy)
	if diff := cmp.Diff(was, is); diff != "" {
		t.Fatalf("changed beside the additions (-before +after):\n%s", diff)
	}
}

// strip takes everything from is that an injection may add to was.
func strip(was, is any, appendNoProxy bool) {
	before, after := was.(map[string]any), is.(map[string]any)
	specBefore, specAfter := before["spec"].(map[string]any), after["spec"].(map[string]any)
	metaBefore, _ := before["metadata"].(map[string]any)
	metaAfter, _ := after["metadata"].(map[string]any)
	labelsBefore, _ := metaBefore["labels"].(map[string]any)
	labelsAfter, _ := metaAfter["labels"].(map[string]any)
	if old, ok := labelsBefore[Label]; ok {
		labelsAfter[Label] = old // another value is the one thing that is replaced
	} else {
		delete(labelsAfter, Label)
	}
	restore(metaBefore, metaAfter, "labels", len(labelsAfter) == 0)
	restore(before, after, "metadata", len(metaAfter) == 0)

	volumes, _ := specAfter["volumes"].([]any)
	if old, _ := specBefore["volumes"].([]any); len(volumes) == len(old)+1 {
		volumes = volumes[1:]
		specAfter["volumes"] = volumes
	}
	restore(specBefore, specAfter, "volumes", len(volumes) == 0)
	for _, kind := range []string{"containers", "initContainers"} {
		old, _ := specBefore[kind].([]any)
		for i := range old {
			was, _ := old[i].(map[string]any)
			is, _ := specAfter[kind].([]any)[i].(map[string]any)
			if appendNoProxy {
				shortenExceptions(was, is)
			}
			for _, field := range []string{"env", "volumeMounts"} {
				had, _ := was[field].([]any)
				if has, _ := is[field].([]any); len(has) > len(had) {
					is[field] = has[:len(had)]
				}
				has, _ := is[field].([]any)
				restore(was, is, field, len(has) == 0)
			}
		}
	}
}

// shortenExceptions takes what was appended off the values of NO_PROXY and no_proxy.
func shortenExceptions(was, is map[string]any) {
	before, _ := was["env"].([]any)
	for i := range before {
		old, _ := before[i].(map[string]any)
		env := is["env"].([]any)[i].(map[string]any)
		if name := old["name"]; name != "NO_PROXY" && name != "no_proxy" {
			continue
		}
		oldValue, _ := old["value"].(string)
		if value, _ := env["value"].(string); strings.HasPrefix(value, oldValue) {
			restore(old, env, "value", true)
		}
	}
}

// restore gives an emptied field the form it had: absent, null or empty.
func restore(was, is map[string]any, field string, empty bool) {
	if !empty {
		return
	}
	if old, ok := was[field]; ok {
		is[field] = old
	} else {
		delete(is, field)
	}
}

// tester is what *testing.T and *rapid.T have in common.
type tester interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

func apply(t tester, pod []byte, m Mutation) []byte {
	t.Helper()
	if len(m.Patch) == 0 {
		return pod
	}
	encoded, err := json.Marshal(m.Patch)
	if err != nil {
		t.Fatal(err)
	}
	patch, err := jsonpatch.DecodePatch(encoded)
	if err != nil {
		t.Fatal(err)
	}
	changed, err := patch.Apply(pod)
	if err != nil {
		t.Fatalf("applying %s: %v", encoded, err)
	}
	return changed
}

func decode(t tester, data []byte) any {
	t.Helper()
	var v any
	d := json.NewDecoder(strings.NewReader(string(data)))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

// given is what a mutation depends on besides the pod.
type given struct {
	Settings       Settings
	ServiceAccount ServiceAccountFacts
}

// associated is a service account with an association, and with nothing else.
var associated = ServiceAccountFacts{Associated: true, Found: true}

// readGiven reads a case's given.yaml. Settings are EKS's where it has none, and so is the service account an associated one.
func readGiven(t *testing.T, dir string) given {
	t.Helper()
	var read struct {
		Differs        string // from Amazon's webhook, and why
		Settings       *Settings
		ServiceAccount *ServiceAccountFacts
	}
	text, err := os.ReadFile(filepath.Join(dir, "given.yaml"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict(text, &read); err != nil {
		t.Fatal(err)
	}
	g := given{Settings{Region: "us-west-2", RegionalSTS: true}, associated}
	if read.Settings != nil {
		g.Settings = *read.Settings
	}
	if read.ServiceAccount != nil {
		g.ServiceAccount = *read.ServiceAccount
	}
	if err := g.Settings.validate(); err != nil {
		t.Fatal(err)
	}
	g.Settings.Jitter = half
	return g
}

// checkType decodes a pod strictly into Kubernetes' own type.
func checkType(t *testing.T, pod []byte) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(pod))
	d.DisallowUnknownFields()
	if err := d.Decode(&corev1.Pod{}); err != nil {
		t.Errorf("not a pod of Kubernetes' type any more: %v", err)
	}
}

func readYAML(t testing.TB, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	data, err := yaml.YAMLToJSONStrict(text)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// FuzzInject takes pods through the mutation that hold whatever Kubernetes' own type can: the patch applies, the outcome is such a
// pod again, and injecting twice is injecting once.
func FuzzInject(f *testing.F) {
	cases, err := filepath.Glob("testdata/*/in.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for i, in := range cases {
		text, err := os.ReadFile(in)
		if err != nil {
			f.Fatal(err)
		}
		data, err := yaml.YAMLToJSON(text)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, uint8(i))
	}
	f.Fuzz(func(t *testing.T, data []byte, choices uint8) {
		var p corev1.Pod
		if json.Unmarshal(data, &p) != nil {
			t.Skip("not a pod")
		}
		before, err := json.Marshal(p) // as the API server sends it
		if err != nil {
			t.Skip("not a pod")
		}
		chosen := func(bit int) bool { return choices>>bit&1 == 1 }
		g := given{
			Settings{Jitter: half, RegionalSTS: chosen(0), AppendNoProxy: chosen(1), HostNetworkWithoutAgent: chosen(2)},
			ServiceAccountFacts{Associated: chosen(3)},
		}
		if chosen(4) {
			g.Settings.Region = "us-west-2"
		}
		if chosen(5) {
			g.ServiceAccount.Annotations = map[string]string{"eks.amazonaws.com/role-arn": "arn:aws:iam::111122223333:role/carts"}
		}
		m, err := Inject(before, g.ServiceAccount, g.Settings)
		if err != nil {
			t.Fatal(err)
		}
		after := apply(t, before, m)
		checkType(t, after)
		checkInvariants(t, before, after, g)
	})
}

func BenchmarkInject(b *testing.B) {
	pod := readYAML(b, "testdata/existing-env-mounts-volumes/in.yaml")
	s := Settings{Region: "us-west-2", RegionalSTS: true, Jitter: half}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Inject(pod, associated, s); err != nil {
			b.Fatal(err)
		}
	}
}
