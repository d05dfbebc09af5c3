package webhook

import (
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
	"pgregory.net/rapid"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "write the out.yaml of every case anew")

// half is the jitter of the tests: always the middle.
func half(n int64) int64 { return n / 2 }

// TestInject takes every pod of testdata through the mutation: in.yaml, with settings.yaml where there is one, must become
// out.yaml, whose first document holds the warnings.
func TestInject(t *testing.T) {
	cases, err := filepath.Glob("testdata/*/in.yaml")
	if err != nil || len(cases) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, in := range cases {
		dir := filepath.Dir(in)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			s := caseSettings(t, dir)
			pod := readYAML(t, in)
			m, err := Inject(pod, s)
			if err != nil {
				t.Fatal(err)
			}
			changed := apply(t, pod, m)
			checkInvariants(t, pod, changed, s)

			warnings, err := yaml.Marshal(map[string]any{"warnings": m.Warnings})
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
		if m, err := Inject([]byte(data), Settings{}); err == nil {
			t.Errorf("Inject(%q) = %+v, want an error", data, m)
		}
	}
}

// TestPatchIsMinimal reads the patch itself: what a golden pod does not show is that nothing was rewritten.
func TestPatchIsMinimal(t *testing.T) {
	pod := `{"metadata":{"labels":{"app":"x"}},"spec":{"volumes":[{"name":"v"}],"containers":[
		{"name":"a","env":[{"name":"A"}],"volumeMounts":[{"name":"v"}]},{"name":"b"}]}}`
	m, err := Inject([]byte(pod), Settings{Region: "us-west-2"})
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
			m, err := Inject([]byte(pod), Settings{TokenExpirationSeconds: test.setting, Jitter: test.jitter})
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
		"AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
	}
	names := rapid.SampledFrom([]string{"app", "proxy", "", "a/b", "a~1b", "ü"})
	volumes := rapid.SampledFrom([]string{"eks-pod-identity-token", "cache", "v"})
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
	containers := list(rapid.OneOf(rapid.Just[any](nil), object(map[string]*rapid.Generator[any]{
		"name":         rapid.Map(names, func(s string) any { return s }),
		"env":          list(item(rapid.SampledFrom(variables))),
		"volumeMounts": list(item(volumes)),
		"unknown":      rapid.Just[any]([]any{1.5, nil, "x"}),
	})))
	pods := object(map[string]*rapid.Generator[any]{
		"metadata": object(map[string]*rapid.Generator[any]{
			"labels":      texts(Label, "app"),
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
	})
	settings := rapid.Custom(func(t *rapid.T) Settings {
		s := Settings{Jitter: half, RegionalSTS: rapid.Bool().Draw(t, "regional STS")}
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
		s := settings.Draw(t, "settings")
		m, err := Inject(data, s)
		if err != nil {
			t.Fatal(err)
		}
		checkInvariants(t, data, apply(t, data, m), s)
	})
}

// checkInvariants checks what holds for every pod: injecting again changes nothing, and taking the additions away again leaves
// the pod that was there before, every unknown field of it included.
func checkInvariants(t tester, before, after []byte, s Settings) {
	t.Helper()
	again, err := Inject(after, s)
	if err != nil {
		t.Fatalf("injecting again: %v", err)
	}
	if len(again.Patch) != 0 {
		t.Fatalf("injecting again patches: %+v", again.Patch)
	}
	was, is := decode(t, before), decode(t, after)
	strip(was, is, s.complete())
	if diff := cmp.Diff(was, is); diff != "" {
		t.Fatalf("changed beside the additions (-before +after):\n%s", diff)
	}
}

// strip takes everything from is that an injection may add to was.
func strip(was, is any, s Settings) {
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

func caseSettings(t *testing.T, dir string) Settings {
	t.Helper()
	s := Settings{Region: "us-west-2", RegionalSTS: true}
	text, err := os.ReadFile(filepath.Join(dir, "settings.yaml"))
	if err == nil {
		s = Settings{}
		err = yaml.UnmarshalStrict(text, &s)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	if err := s.validate(); err != nil {
		t.Fatal(err)
	}
	s.Jitter = half
	return s
}

func readYAML(t *testing.T, name string) []byte {
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

func BenchmarkInject(b *testing.B) {
	text, err := os.ReadFile("testdata/existing-env-mounts-volumes/in.yaml")
	if err != nil {
		b.Fatal(err)
	}
	pod, err := yaml.YAMLToJSON(text)
	if err != nil {
		b.Fatal(err)
	}
	s := Settings{Region: "us-west-2", RegionalSTS: true, Jitter: half}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Inject(pod, s); err != nil {
			b.Fatal(err)
		}
	}
}
