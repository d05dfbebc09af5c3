package eks_test

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/server/servertest"
)

const associations = "/clusters/local/pod-identity-associations"

// What SDKs do not show of a successful answer: numbers, members that are there though empty, headers.
func TestWireAnswers(t *testing.T) {
	s := servertest.New(t, nil)
	role := s.MakeRole("carts", servertest.PodTrust, "")
	uuid := regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
	seen := map[string]bool{}
	call := func(method, target, body string) map[string]json.RawMessage {
		t.Helper()
		a := s.Send(servertest.Call{Service: "eks", Method: method, Target: target, Body: body})
		id := a.Header.Get("X-Amzn-Requestid")
		if a.Status != http.StatusOK || a.Header.Get("Content-Type") != "application/json" || !uuid.MatchString(id) || seen[id] {
			t.Fatalf("%s %s: %d %v %s", method, target, a.Status, a.Header, a.Body)
		}
		seen[id] = true
		var members map[string]json.RawMessage
		a.JSON(t, &members)
		return members
	}
	is := func(members map[string]json.RawMessage, want map[string]string) {
		t.Helper()
		for name, text := range want {
			if got := string(members[name]); !regexp.MustCompile("^" + text + "$").MatchString(got) {
				t.Errorf("member %s is %s, want %s", name, got, text)
			}
		}
		for name := range members {
			if _, ok := want[name]; !ok {
				t.Errorf("member %s is too many", name)
			}
		}
	}
	inner := func(members map[string]json.RawMessage, name string) (out map[string]json.RawMessage) {
		t.Helper()
		if err := json.Unmarshal(members[name], &out); err != nil {
			t.Fatal(err)
		}
		return out
	}
	const number = `1[0-9]{9}(\.[0-9]{1,3})?`
	want := map[string]string{
		"clusterName": `"local"`, "namespace": `"carts"`, "serviceAccount": `"carts"`, "roleArn": `"` + role + `"`,
		"associationArn": `"arn:aws:eks:us-west-2:111122223333:podidentityassociation/local/a-[a-z0-9]{17}"`, "associationId": `"a-[a-z0-9]{17}"`,
		"tags": `{}`, "createdAt": number, "modifiedAt": number, "disableSessionTags": `false`,
	}
	// Members that are not known, and null for members that are not set, are passed over.
	created := inner(call("POST", associations, `{"namespace":"carts","serviceAccount":"carts","roleArn":"`+role+`","policy":null,"tags":null,"futureMember":{"a":[1]}}`), "association")
	is(created, want)
	var id string
	if err := json.Unmarshal(created["associationId"], &id); err != nil {
		t.Fatal(err)
	}
	is(inner(call("GET", associations+"/"+id, ""), "association"), want)
	is(inner(call("POST", associations+"/"+id, ""), "association"), want)
	is(inner(call("POST", associations+"/"+id, `{"targetRoleArn":null}`), "association"), want)
	list := call("GET", associations+"?namespace=carts&maxResults=1&unknown=1", "")
	if _, ok := list["nextToken"]; ok {
		t.Error("the last page has a nextToken")
	}
	var summaries []map[string]json.RawMessage
	if err := json.Unmarshal(list["associations"], &summaries); err != nil || len(summaries) != 1 {
		t.Fatalf("list %s: %v", list["associations"], err)
	}
	is(summaries[0], map[string]string{
		"clusterName": want["clusterName"], "namespace": want["namespace"], "serviceAccount": want["serviceAccount"],
		"associationArn": want["associationArn"], "associationId": want["associationId"],
	})
	is(inner(call("DELETE", associations+"/"+id, ""), "association"), want)
	if got := string(call("GET", associations, "")["associations"]); got != "[]" {
		t.Errorf("an empty list is %s", got)
	}
	cluster := inner(call("GET", "/clusters/local", ""), "cluster")
	if string(cluster["tags"]) != "{}" || string(cluster["health"]) != `{"issues":[]}` || !regexp.MustCompile("^"+number+"$").Match(cluster["createdAt"]) {
		t.Errorf("cluster %s", cluster)
	}
}

func TestWireRefusals(t *testing.T) {
	s := servertest.New(t, nil)
	role := s.MakeRole("carts", servertest.PodTrust, "")
	id := s.Associate(servertest.Cluster, identity.ServiceAccount{Namespace: "shop", Name: "shop"}, role, nil)
	good := `{"namespace":"carts","serviceAccount":"carts","roleArn":"` + role + `"}`
	key, err := s.Admin.Credentials.Retrieve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	with := func(change func(*aws.Credentials)) *aws.Config {
		other := key
		change(&other)
		cfg := s.As(other)
		return &cfg
	}
	post := func(body string) servertest.Call {
		return servertest.Call{Service: "eks", Method: "POST", Target: associations, Body: body}
	}
	signed := func(change func(*servertest.Call)) servertest.Call {
		c := post(good)
		change(&c)
		return c
	}
	const serialization, signature = "SerializationException", "InvalidSignatureException"
	for name, tt := range map[string]struct {
		call   servertest.Call
		tamper func(*http.Request) // after it was signed
		status int
		code   string
		names  string
	}{
		"not JSON":          {post(`{"namespace":"carts",}`), nil, 400, serialization, "byte 22"},
		"cut off":           {post(`{"namespace":"carts"`), nil, 400, serialization, "unexpected end"},
		"an array":          {post(`[]`), nil, 400, serialization, "The request body must be a JSON object"},
		"a string":          {post(`"carts"`), nil, 400, serialization, "The request body must be a JSON object"},
		"trailing data":     {post(good + `{}`), nil, 400, serialization, "after top-level value"},
		"number as text":    {post(`{"namespace":5}`), nil, 400, serialization, `"namespace"`},
		"text as boolean":   {post(`{"disableSessionTags":"true"}`), nil, 400, serialization, `"disableSessionTags"`},
		"list as map":       {post(`{"tags":[]}`), nil, 400, serialization, `"tags"`},
		"number in map":     {post(`{"tags":{"a":1}}`), nil, 400, serialization, `"tags`},
		"empty body":        {post(""), nil, 400, "InvalidParameterException", "namespace"},
		"null":              {post("null"), nil, 400, "InvalidParameterException", "namespace"},
		"body over the cap": {post(`{"policy":"` + strings.Repeat("x", 1<<20) + `"}`), nil, 413, "RequestEntityTooLargeException", "1048576"},
		"count as text":     {servertest.Call{Service: "eks", Target: associations + "?maxResults=many"}, nil, 400, serialization, "many"},

		"not signed": {post(good), func(r *http.Request) { r.Header.Del("Authorization") }, 403, "MissingAuthenticationTokenException", ""},
		"half a signature": {post(good), func(r *http.Request) {
			r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=x/20260101/us-west-2/eks/aws4_request")
		}, 400, "IncompleteSignatureException", "Signature"},
		"other body":   {post(good), func(r *http.Request) { r.Body = http.NoBody; r.ContentLength = 0 }, 403, signature, "does not match"},
		"other path":   {post(good), func(r *http.Request) { r.URL.Path += "/" + id }, 403, signature, "does not match"},
		"other query":  {servertest.Call{Service: "eks", Target: associations}, func(r *http.Request) { r.URL.RawQuery = "namespace=shop" }, 403, signature, "does not match"},
		"wrong secret": {signed(func(c *servertest.Call) { c.As = with(func(k *aws.Credentials) { k.SecretAccessKey += "x" }) }), nil, 403, signature, "does not match"},
		"unknown key": {signed(func(c *servertest.Call) {
			c.As = with(func(k *aws.Credentials) { k.AccessKeyID = "AKIAIOSFODNN7EXAMPLE" })
		}), nil, 403, "UnrecognizedClientException", "invalid"},
		"made-up session":                     {signed(func(c *servertest.Call) { c.As = with(func(k *aws.Credentials) { k.SessionToken = "podid/AAAA" }) }), nil, 403, "UnrecognizedClientException", "invalid"},
		"replayed too late":                   {signed(func(c *servertest.Call) { c.At = time.Now().Add(-6 * time.Minute) }), nil, 403, signature, "Signature expired: "},
		"from the future":                     {signed(func(c *servertest.Call) { c.At = time.Now().Add(6 * time.Minute) }), nil, 403, signature, "Signature not yet current: "},
		"for the tags API of another service": {servertest.Call{Service: "eks-auth", Target: associations}, nil, 404, "UnknownOperationException", associations},
		"for a service that is none":          {servertest.Call{Service: "ec2", Target: associations}, nil, 404, "UnknownOperationException", "ec2"},

		"unknown operation":     {servertest.Call{Service: "eks", Target: "/clusters/local/nodegroups"}, nil, 404, "UnknownOperationException", "/clusters/local/nodegroups"},
		"unknown method":        {servertest.Call{Service: "eks", Method: "PUT", Target: associations}, nil, 404, "UnknownOperationException", "PUT"},
		"a slash at the end":    {servertest.Call{Service: "eks", Target: associations + "/"}, nil, 404, "UnknownOperationException", associations},
		"unsigned and unknown":  {servertest.Call{Service: "eks", Target: "/clusters/local/nodegroups"}, func(r *http.Request) { r.Header.Del("Authorization") }, 403, "MissingAuthenticationTokenException", ""},
		"an escaped slash":      {servertest.Call{Service: "eks", Target: "/clusters/local%2Fpod-identity-associations"}, nil, 400, "InvalidParameterException", "local/pod"},
		"no UTF-8 in the path":  {servertest.Call{Service: "eks", Target: "/clusters/%ff"}, nil, 400, "InvalidParameterException", ""},
		"a NUL in a list's URL": {servertest.Call{Service: "eks", Target: associations + "?namespace=%00&nextToken=x"}, nil, 400, "InvalidParameterException", "nextToken"},
	} {
		t.Run(name, func(t *testing.T) {
			r := s.Sign(tt.call)
			if tt.tamper != nil {
				tt.tamper(r)
			}
			a := s.Do(r)
			got := s.Refusal(a)
			if a.Status != tt.status || got.Code != tt.code || !strings.Contains(got.Message, tt.names) {
				t.Errorf("got %d %s %q, want %d %s with %q", a.Status, got.Code, got.Message, tt.status, tt.code, tt.names)
			}
			if a.Header.Get("Content-Type") != "application/json" || tt.call.Service != "ec2" && a.Header.Get("X-Amzn-Requestid") == "" {
				t.Errorf("headers %v", a.Header)
			}
			if strings.Contains(a.Body, key.SecretAccessKey) {
				t.Error("the answer holds the secret access key")
			}
		})
	}
	a := s.Send(servertest.Call{Service: "eks", Target: associations})
	var list struct{ Associations []map[string]string }
	a.JSON(t, &list)
	if len(list.Associations) != 1 {
		t.Errorf("what was refused has left %v", list.Associations)
	}
	for _, at := range []time.Duration{-4 * time.Minute, 4 * time.Minute} {
		if a := s.Send(servertest.Call{Service: "eks", Target: associations, At: time.Now().Add(at)}); a.Status != http.StatusOK {
			t.Errorf("signed %v away: %d %s", at, a.Status, a.Body)
		}
	}
}

// The members that real EKS adds to some errors.
func TestWireErrorMembers(t *testing.T) {
	s := servertest.New(t, nil)
	a := s.Send(servertest.Call{Service: "eks", Target: "/clusters/demo"})
	if got, want := s.Refusal(a), (servertest.Refusal{Code: "ResourceNotFoundException", Message: "No cluster found for name: demo.", Cluster: "demo"}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
