package webhook

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

// FuzzPrune checks, on documents that are JSON, that encoding/json reads the same with and without pruning.
func FuzzPrune(f *testing.F) {
	for _, seed := range []string{
		`{}`, `null`, `[]`, ` { "a" : 1 } `, `{"request":{"object":{"spec":{"containers":[{"name":"a","env":[]},null,{"env":[{"name":"x","value":"\"}"}]}]}}}}`,
		`{"request":{"object":{"metadata":{"labels":{"a":"\\"},"managedFields":[{"x":"]}\"\\\\"}]},"spec":{"volumes":[{"name":"v","secret":{"items":[]}}]}}}}`,
		`{"Request":{"UID":"1"},"request":{"uid":"2","Uid":"3"}}`, `{"\u0072equest":{"uid":"4"}}`, `{"request":{"uid":"5"},"request":null}`,
		`{"kind":1,"request":[1]}`, `{"request":{"object":{"spec":{"hostNetwork":true,"containers":{"a":1}}}}}`, `{"ſpec":1,"request":{"object":{"ſpec":{"schedulerName":"x"}}}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, document []byte) {
		var want review
		if !json.Valid(document) {
			_, _ = prune(nil, document, reviewShape) // comes to an end
			return
		}
		wantErr := json.Unmarshal(document, &want)
		pruned, ok := prune(nil, document, reviewShape)
		if !ok {
			return
		}
		var got review
		gotErr := json.Unmarshal(pruned, &got)
		if (gotErr == nil) != (wantErr == nil) || !reflect.DeepEqual(got, want) {
			t.Errorf("of %s is left %s: %v, want %v\n%s", document, pruned, gotErr, wantErr, cmp.Diff(want, got))
		}
	})
}

// TestPruneSeesThrough checks that pods as they are, those of the mutation's cases, are pruned and not given up.
func TestPruneSeesThrough(t *testing.T) {
	files, err := filepath.Glob("testdata/*/in.yaml")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d cases, %v", len(files), err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		pod, err := yaml.YAMLToJSON(text)
		if err != nil {
			t.Fatal(err)
		}
		document := []byte(`{"request":{"uid":"7","userInfo":{"groups":["a"]},"object":` + string(pod) + `}}`)
		var want, got review
		if err := json.Unmarshal(document, &want); err != nil {
			continue // a case of what is no pod
		}
		pruned, ok := prune(nil, document, reviewShape)
		if err := json.Unmarshal(pruned, &got); !ok || err != nil || !reflect.DeepEqual(want, got) {
			t.Errorf("%s: %v, %v", file, ok, err)
		}
	}
}
