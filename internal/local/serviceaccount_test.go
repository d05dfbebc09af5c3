package local

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/podid/podid/internal/identity"
)

const (
	accountsPath = "/api/v1/namespaces/carts/serviceaccounts"
	newAccount   = `{"apiVersion":"v1","kind":"ServiceAccount","metadata":{"name":"app","annotations":{"eks.amazonaws.com/role-arn":"first"},` +
		`"labels":{"team":"shop"}},"automountServiceAccountToken":false}`
)

// call sends a request and returns the status and the decoded answer.
func call(t *testing.T, s *httptest.Server, method, path, contentType, body string) (int, map[string]any) {
	t.Helper()
	resp, data := request{method, path, contentType, "Bearer " + bearer, body}.send(t, s)
	var fields map[string]any
	if err := json.Unmarshal(data, &fields); err != nil {
		t.Fatalf("%s %s: %s %s", method, path, resp.Status, data)
	}
	return resp.StatusCode, fields
}

// metadata takes what is made by chance off an object's metadata.
func metadata(fields map[string]any) map[string]any {
	meta, _ := fields["metadata"].(map[string]any)
	delete(meta, "uid")
	return meta
}

func TestServiceAccount(t *testing.T) {
	s := newServer(t)
	const one = accountsPath + "/app"
	if code, fields := call(t, s, "GET", one, "", ""); code != 404 || fields["reason"] != "NotFound" {
		t.Fatalf("before it is made: %d %v", code, fields)
	}
	code, fields := call(t, s, "POST", accountsPath, "application/json", newAccount)
	if uid := fields["metadata"].(map[string]any)["uid"]; code != 201 || len(uid.(string)) != 36 || fields["automountServiceAccountToken"] != false {
		t.Fatalf("made: %d %v", code, fields)
	}
	want := map[string]any{
		"name": "app", "namespace": "carts", "creationTimestamp": "2026-01-02T03:04:05Z", "resourceVersion": "1",
		"annotations": map[string]any{"eks.amazonaws.com/role-arn": "first"}, "labels": map[string]any{"team": "shop"},
	}
	if diff := cmp.Diff(want, metadata(fields)); diff != "" {
		t.Errorf("made (-want +got):\n%s", diff)
	}
	if code, fields = call(t, s, "POST", accountsPath, "application/json", newAccount); code != 409 || fields["reason"] != "AlreadyExists" {
		t.Errorf("made again: %d %v", code, fields)
	}

	for i, step := range []struct {
		contentType, patch string
		annotations        map[string]any
	}{
		{mergePatch, `{"metadata":{"annotations":{"a":"1"}}}`, map[string]any{"eks.amazonaws.com/role-arn": "first", "a": "1"}},
		{strategicPatch, `{"metadata":{"annotations":{"a":null,"eks.amazonaws.com/role-arn":"second"}}}`, map[string]any{"eks.amazonaws.com/role-arn": "second"}},
		{jsonPatch, `[{"op":"add","path":"/metadata/annotations/b","value":"2"}]`, map[string]any{"eks.amazonaws.com/role-arn": "second", "b": "2"}},
		{applyPatch, "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: app, annotations: {c: '3'}}\n", map[string]any{"c": "3"}},
		{mergePatch, `{"metadata":{"resourceVersion":"5","annotations":null}}`, nil},
	} {
		code, fields = call(t, s, "PATCH", one+"?fieldManager=test", step.contentType, step.patch)
		meta := metadata(fields)
		if code != 200 || meta["resourceVersion"] != fmt.Sprint(i+2) || meta["creationTimestamp"] != want["creationTimestamp"] {
			t.Fatalf("%s: %d %v", step.patch, code, fields)
		}
		if diff := cmp.Diff(step.annotations, orNone(meta["annotations"])); diff != "" {
			t.Errorf("%s (-want +got):\n%s", step.patch, diff)
		}
		if _, again := call(t, s, "GET", one, "", ""); cmp.Diff(metadata(again), meta) != "" {
			t.Errorf("%s: reads as %v, want %v", step.patch, again, meta)
		}
	}

	if code, fields = call(t, s, "DELETE", one, "", ""); code != 200 || fields["status"] != "Success" {
		t.Errorf("deleted: %d %v", code, fields)
	}
	if code, fields = call(t, s, "DELETE", one, "", ""); code != 404 {
		t.Errorf("deleted again: %d %v", code, fields)
	}
}

func orNone(v any) map[string]any {
	m, _ := v.(map[string]any)
	return m
}

// What is applied and is not there is made.
func TestApplyServiceAccount(t *testing.T) {
	s := newServer(t)
	code, fields := call(t, s, "PATCH", accountsPath+"/app?fieldManager=test&force=true", applyPatch, newAccount)
	if code != 201 || orNone(metadata(fields)["annotations"])["eks.amazonaws.com/role-arn"] != "first" {
		t.Errorf("got %d %v", code, fields)
	}
	code, fields = call(t, s, "PATCH", accountsPath+"/app?fieldManager=test&force=true", applyPatch, strings.Replace(newAccount, "first", "second", 1))
	if code != 200 || orNone(metadata(fields)["annotations"])["eks.amazonaws.com/role-arn"] != "second" {
		t.Errorf("again: got %d %v", code, fields)
	}
}

func TestListServiceAccounts(t *testing.T) {
	s := newServer(t)
	for _, namespace := range []string{"carts", "shop", "carts-2"} {
		for _, name := range []string{"b", "a"} {
			body := strings.Replace(newAccount, `"app"`, `"`+name+`"`, 1)
			if code, fields := call(t, s, "POST", "/api/v1/namespaces/"+namespace+"/serviceaccounts", "application/json", body); code != 201 {
				t.Fatalf("%d %v", code, fields)
			}
		}
	}
	for path, want := range map[string]string{
		accountsPath: "carts/a carts/b", "/api/v1/serviceaccounts": "carts-2/a carts-2/b carts/a carts/b shop/a shop/b",
		"/api/v1/namespaces/empty/serviceaccounts": "",
	} {
		code, fields := call(t, s, "GET", path, "", "")
		var got []string
		for _, item := range fields["items"].([]any) {
			meta := metadata(item.(map[string]any))
			got = append(got, fmt.Sprint(meta["namespace"], "/", meta["name"]))
		}
		if code != 200 || strings.Join(got, " ") != want {
			t.Errorf("%s: %d %v, want %s", path, code, got, want)
		}
	}
}

// Nothing is kept of a dry run.
func TestServiceAccountDryRun(t *testing.T) {
	s := newServer(t)
	const dry = "?dryRun=All"
	if code, fields := call(t, s, "POST", accountsPath+dry, "application/json", newAccount); code != 201 {
		t.Errorf("making: %d %v", code, fields)
	}
	if code, _ := call(t, s, "GET", accountsPath+"/app", "", ""); code != 404 {
		t.Errorf("it is there: %d", code)
	}
	call(t, s, "POST", accountsPath, "application/json", newAccount)
	if code, fields := call(t, s, "PATCH", accountsPath+"/app"+dry, mergePatch, `{"metadata":{"annotations":null}}`); code != 200 ||
		metadata(fields)["annotations"] != nil {
		t.Errorf("changing: %d %v", code, fields)
	}
	if code, fields := call(t, s, "DELETE", accountsPath+"/app"+dry, "", ""); code != 200 {
		t.Errorf("deleting: %d %v", code, fields)
	}
	if code, fields := call(t, s, "GET", accountsPath+"/app", "", ""); code != 200 || metadata(fields)["resourceVersion"] != "1" {
		t.Errorf("it has changed: %d %v", code, fields)
	}
}

func TestServiceAccountErrors(t *testing.T) {
	s := newServer(t)
	call(t, s, "POST", accountsPath, "application/json", newAccount)
	const one = accountsPath + "/app"
	merge := func(meta string) string { return `{"metadata":` + meta + `}` }
	for name, test := range map[string]struct {
		method, path, contentType, body string
		code                            int
		reason, message                 string
	}{
		"another kind":      {"POST", accountsPath, "application/json", `{"apiVersion":"v1","kind":"Secret"}`, 400, "BadRequest", "ServiceAccount"},
		"no metadata":       {"POST", accountsPath, "application/json", `{"apiVersion":"v1","kind":"ServiceAccount"}`, 422, "Invalid", "metadata"},
		"no name":           {"POST", accountsPath, "application/json", strings.Replace(newAccount, `"name":"app",`, "", 1), 422, "Invalid", "metadata.name"},
		"bad name":          {"POST", accountsPath, "application/json", strings.Replace(newAccount, `"app"`, `"App"`, 1), 422, "Invalid", "metadata.name"},
		"another namespace": {"POST", accountsPath, "application/json", strings.Replace(newAccount, `"name"`, `"namespace":"x","name"`, 1), 400, "BadRequest", "namespace"},
		"bad namespace":     {"POST", "/api/v1/namespaces/X/serviceaccounts", "application/json", newAccount, 400, "BadRequest", "namespace"},
		"version":           {"POST", accountsPath, "application/json", strings.Replace(newAccount, `"name"`, `"resourceVersion":"1","name"`, 1), 400, "BadRequest", "resourceVersion"},
		"annotation":        {"POST", accountsPath, "application/json", strings.Replace(newAccount, `"first"`, `7`, 1), 400, "BadRequest", "metadata.annotations"},
		"labels":            {"POST", accountsPath, "application/json", strings.Replace(newAccount, `{"team":"shop"}`, `[]`, 1), 400, "BadRequest", "metadata.labels"},
		"too large":         {"POST", accountsPath, "application/json", `"` + strings.Repeat("x", maxAccountBytes) + `"`, 413, "RequestEntityTooLarge", "large"},
		"null":              {"PATCH", one, mergePatch, `null`, 400, "BadRequest", "object"},
		"not JSON":          {"PATCH", one, mergePatch, `{`, 400, "BadRequest", "body"},
		"not YAML":          {"PATCH", one, applyPatch, "a: b: c", 400, "BadRequest", "YAML"},
		"unknown patch":     {"PATCH", one, "application/json", `{}`, 415, "UnsupportedMediaType", mergePatch},
		"directive":         {"PATCH", one, strategicPatch, `{"$patch":"delete"}`, 400, "BadRequest", "$patch"},
		"misfit":            {"PATCH", one, jsonPatch, `[{"op":"remove","path":"/none"}]`, 422, "Invalid", "apply"},
		"rename":            {"PATCH", one, mergePatch, merge(`{"name":"b"}`), 422, "Invalid", "metadata.name"},
		"move":              {"PATCH", one, mergePatch, merge(`{"namespace":"b"}`), 422, "Invalid", "metadata.namespace"},
		"uid":               {"PATCH", one, mergePatch, merge(`{"uid":"b"}`), 422, "Invalid", "metadata.uid"},
		"kind":              {"PATCH", one, mergePatch, `{"kind":"Secret"}`, 400, "BadRequest", "ServiceAccount"},
		"old version":       {"PATCH", one, mergePatch, merge(`{"resourceVersion":"7"}`), 409, "Conflict", "modified"},
		"number":            {"PATCH", one, mergePatch, merge(`{"annotations":{"a":1}}`), 400, "BadRequest", "metadata.annotations"},
		"grown too large": {"PATCH", one, jsonPatch, `[{"op":"add","path":"/a","value":"` + strings.Repeat("x", maxAccountBytes-100) + `"},` +
			`{"op":"copy","from":"/a","path":"/b"}]`, 413, "RequestEntityTooLarge", "large"},
		"unknown":       {"PATCH", accountsPath + "/none", mergePatch, `{}`, 404, "NotFound", `"none" not found`},
		"bad path":      {"GET", accountsPath + "/None", "", "", 400, "BadRequest", "path"},
		"watch":         {"GET", accountsPath + "?watch=1", "", "", 400, "BadRequest", "watches"},
		"half dry":      {"POST", accountsPath + "?dryRun=Some", "application/json", newAccount, 400, "BadRequest", "dryRun"},
		"replace":       {"PUT", one, "application/json", newAccount, 405, "MethodNotAllowed", "method"},
		"apply another": {"PATCH", accountsPath + "/other", applyPatch, newAccount, 400, "BadRequest", "name"},
	} {
		t.Run(name, func(t *testing.T) {
			code, fields := call(t, s, test.method, test.path, test.contentType, test.body)
			if code != test.code || fields["reason"] != test.reason || !strings.Contains(fmt.Sprint(fields["message"]), test.message) {
				t.Errorf("got %d %v, want %d %s %s", code, fields, test.code, test.reason, test.message)
			}
		})
	}
	if code, fields := call(t, s, "GET", one, "", ""); code != 200 || metadata(fields)["resourceVersion"] != "1" {
		t.Errorf("it has changed: %d %v", code, fields)
	}
	for _, method := range []string{"GET", "PATCH", "DELETE"} {
		if resp, _ := (request{method, one, mergePatch, "", "{}"}).send(t, s); resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s without a token: %s", method, resp.Status)
		}
	}
}

// TestServiceAccountChangesAtOnce has several clients change one object: none of the changes is lost.
func TestServiceAccountChangesAtOnce(t *testing.T) {
	s := newServer(t)
	call(t, s, "POST", accountsPath, "application/json", newAccount)
	var wait sync.WaitGroup
	const writers = 8
	for i := range writers {
		wait.Go(func() {
			patch := fmt.Sprintf(`{"metadata":{"annotations":{"writer-%d":"x"}}}`, i)
			if resp, body := (request{"PATCH", accountsPath + "/app", mergePatch, "Bearer " + bearer, patch}).send(t, s); resp.StatusCode != 200 {
				t.Errorf("writer %d: %s %s", i, resp.Status, body)
			}
		})
	}
	wait.Wait()
	_, fields := call(t, s, "GET", accountsPath+"/app", "", "")
	if meta := metadata(fields); len(orNone(meta["annotations"])) != writers+1 || meta["resourceVersion"] != fmt.Sprint(writers+1) {
		t.Errorf("got %v", meta)
	}
}

func TestAnnotations(t *testing.T) {
	cfg := validConfig(t)
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(http.StripPrefix("/k8s/local", c))
	defer s.Close()
	account := identity.ServiceAccount{Namespace: "carts", Name: "app"}
	if _, found := cfg.ServiceAccounts.Annotations("local", account); found {
		t.Error("found before it is made")
	}
	call(t, s, "POST", accountsPath, "application/json", newAccount)
	got, found := cfg.ServiceAccounts.Annotations("local", account)
	if want := map[string]string{"eks.amazonaws.com/role-arn": "first"}; !found || cmp.Diff(want, got) != "" {
		t.Errorf("got %v, %v", got, found)
	}
	if _, found := cfg.ServiceAccounts.Annotations("edge", account); found {
		t.Error("found in another cluster")
	}
}
