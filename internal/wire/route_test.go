package wire

import (
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMatchPath(t *testing.T) {
	const (
		list  = "/clusters"
		one   = "/clusters/{name}"
		assoc = "/clusters/{name}/pod-identity-associations/{id}"
		tags  = "/tags/{arn...}"
	)
	for _, tt := range []struct {
		pattern, path string
		want          map[string]string // nil: no match
	}{
		{list, "/clusters", map[string]string{}},
		{list, "/clusters/", nil},
		{list, "/Clusters", nil},
		{list, "clusters", nil},
		{list, "//clusters", nil},
		{list, "", nil},
		{one, "/clusters/prod", map[string]string{"name": "prod"}},
		{one, "/clusters/pr%6Fd", map[string]string{"name": "prod"}},
		{one, "/clusters/a%2Fb", map[string]string{"name": "a/b"}},
		{one, "/clusters/a+b", map[string]string{"name": "a+b"}},
		{one, "/clusters/..", map[string]string{"name": ".."}},
		{one, "/clusters/", nil},
		{one, "/clusters/a/b", nil},
		{one, "/clusters/%zz", nil},
		{assoc, "/clusters/a/pod-identity-associations/b", map[string]string{"name": "a", "id": "b"}},
		{assoc, "/clusters//pod-identity-associations/b", nil},
		{assoc, "/clusters/a/pod-identity-associations", nil},
		{assoc, "/clusters/a/pod%2Didentity-associations/b", nil},
		{tags, "/tags/arn%3Aaws%3Aeks%3Aus-west-2%3A111122223333%3Apodidentityassociation%2Fc%2Fa-1", map[string]string{"arn": "arn:aws:eks:us-west-2:111122223333:podidentityassociation/c/a-1"}},
		{tags, "/tags/arn:aws:eks:us-west-2:111122223333:cluster/c", map[string]string{"arn": "arn:aws:eks:us-west-2:111122223333:cluster/c"}},
		{tags, "/tags/", nil},
		{tags, "/tags", nil},
	} {
		got, ok := matchPath(tt.pattern, strings.Split(tt.path, "/"))
		if got == nil {
			got = map[string]string{}
		}
		if ok != (tt.want != nil) || ok && !cmp.Equal(got, tt.want) {
			t.Errorf("matchPath(%q, %q) = %v, %v; want %v", tt.pattern, tt.path, got, ok, tt.want)
		}
	}
}

// A path matches a pattern exactly if it is the pattern with its labels filled in.
func FuzzMatchPath(f *testing.F) {
	for _, seed := range []string{"/clusters/a/pod-identity-associations/b", "/clusters/%2F/pod-identity-associations/..", "/clusters//pod-identity-associations/", "%", ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, path string) {
		labels, ok := matchPath("/clusters/{name}/pod-identity-associations/{id}", strings.Split(path, "/"))
		if !ok {
			return
		}
		parts := strings.Split(path, "/")
		for i, label := range map[int]string{2: labels["name"], 4: labels["id"]} {
			if value, err := url.PathUnescape(parts[i]); err != nil || value != label || label == "" {
				t.Errorf("part %d of %q is %q, and the label %q", i, path, value, label)
			}
		}
		if len(parts) != 5 || len(labels) != 2 || parts[0]+"/"+parts[1]+"/"+parts[3] != "/clusters/pod-identity-associations" {
			t.Errorf("%q matches with %v", path, labels)
		}
	})
}
