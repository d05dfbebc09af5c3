package wire_test

import (
	"encoding/xml"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/podid/podid/internal/server"
	"github.com/podid/podid/internal/server/servertest"
)

var uuid = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)

// xmlError is an error of STS or IAM.
type xmlError struct {
	XMLName   xml.Name `xml:"ErrorResponse"`
	Type      string   `xml:"Error>Type"`
	Code      string   `xml:"Error>Code"`
	Message   string   `xml:"Error>Message"`
	RequestID string   `xml:"RequestId"`
}

// refusal reads an error, whose envelope must be right.
func refusal(t *testing.T, a *servertest.Answer, space string) xmlError {
	t.Helper()
	var e xmlError
	if err := xml.Unmarshal([]byte(a.Body), &e); err != nil {
		t.Fatalf("%d %s: %v", a.Status, a.Body, err)
	}
	id := a.Header.Get("X-Amzn-Requestid")
	if e.XMLName.Space != space || !uuid.MatchString(id) || e.RequestID != id || a.Header.Get("Content-Type") != "text/xml" {
		t.Errorf("namespace %q, request id %q and %q, %s", e.XMLName.Space, id, e.RequestID, a.Header)
	}
	if want := map[bool]string{true: "Receiver", false: "Sender"}[a.Status >= 500]; e.Type != want {
		t.Errorf("Type %s with status %d", e.Type, a.Status)
	}
	return e
}

const (
	stsSpace = "https://sts.amazonaws.com/doc/2011-06-15/"
	iamSpace = "https://iam.amazonaws.com/doc/2010-05-08/"
)

func TestQueryEnvelope(t *testing.T) {
	s := servertest.New(t, nil)
	role := s.MakeRole("web", servertest.TrustAdmin, "")
	check := func(t *testing.T, a *servertest.Answer, action, space string, contains ...string) {
		t.Helper()
		var answer struct {
			XMLName   xml.Name
			RequestID string `xml:"ResponseMetadata>RequestId"`
		}
		if err := xml.Unmarshal([]byte(a.Body), &answer); err != nil {
			t.Fatalf("%d %s: %v", a.Status, a.Body, err)
		}
		id := a.Header.Get("X-Amzn-Requestid")
		if a.Status != 200 || answer.XMLName.Local != action+"Response" || answer.XMLName.Space != space || answer.RequestID != id || !uuid.MatchString(id) || a.Header.Get("Content-Type") != "text/xml" {
			t.Errorf("%d %s %v", a.Status, a.Body, a.Header)
		}
		for _, part := range contains {
			if !strings.Contains(a.Body, part) {
				t.Errorf("no %s in %s", part, a.Body)
			}
		}
	}
	get := servertest.Form("sts", "GetCallerIdentity")
	get.Method, get.Target, get.Body = http.MethodGet, "/?"+get.Body, ""
	for name, tt := range map[string]struct {
		call     servertest.Call
		contains []string
	}{
		"GetCallerIdentity": {servertest.Form("sts", "GetCallerIdentity"), []string{"<GetCallerIdentityResult><UserId>AIDA", "<Account>111122223333</Account>"}},
		"GET":               {get, []string{"<GetCallerIdentityResult>"}},
		"AssumeRole": {servertest.Form("sts", "AssumeRole", "RoleArn", role, "RoleSessionName", "s1", "Tags.member.1.Key", "a", "Tags.member.1.Value", "b", "DurationSeconds", "900"),
			[]string{"<AssumeRoleResult><Credentials><AccessKeyId>ASIA", "</SecretAccessKey><SessionToken>", "<AssumedRoleUser><AssumedRoleId>AROA", "<PackedPolicySize>"}},
		"empty lists":           {servertest.Form("sts", "AssumeRole", "RoleArn", role, "RoleSessionName", "s1", "Tags", "", "TransitiveTagKeys", "", "PolicyArns", ""), []string{"<Credentials>"}},
		"unknown member":        {servertest.Form("sts", "GetCallerIdentity", "Unknown.member.1.Key", "x"), []string{"<Account>"}},
		"no output":             {servertest.Form("iam", "TagRole", "RoleName", "web", "Tags.member.1.Key", "k", "Tags.member.1.Value", ""), nil},
		"empty result":          {servertest.Form("iam", "UpdateRole", "RoleName", "web"), []string{"<UpdateRoleResult></UpdateRoleResult>"}},
		"list":                  {servertest.Form("iam", "ListRoles"), []string{"<ListRolesResult><Roles><member><Path>/</Path>", "<IsTruncated>false</IsTruncated>"}},
		"empty list":            {servertest.Form("iam", "ListRolePolicies", "RoleName", "web"), []string{"<PolicyNames></PolicyNames>"}},
		"attached, always none": {servertest.Form("iam", "ListAttachedRolePolicies", "RoleName", "web"), []string{"<AttachedPolicies></AttachedPolicies>"}},
		"no instance profiles":  {servertest.Form("iam", "ListInstanceProfilesForRole", "RoleName", "web"), []string{"<InstanceProfiles></InstanceProfiles>"}},
		"encoded document":      {servertest.Form("iam", "GetRole", "RoleName", "web"), []string{"<AssumeRolePolicyDocument>%7B%22Version%22%3A%222012-10-17%22"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, action, _ := strings.Cut(tt.call.Body+tt.call.Target, "Action=")
			action, _, _ = strings.Cut(action, "&")
			a := s.Send(tt.call)
			check(t, a, action, map[string]string{"sts": stsSpace, "iam": iamSpace}[tt.call.Service], tt.contains...)
			if name == "no output" && strings.Contains(a.Body, "Result") {
				t.Errorf("an operation without output has a result: %s", a.Body)
			}
		})
	}
	t.Run("times", func(t *testing.T) {
		a := s.Send(servertest.Form("iam", "GetRole", "RoleName", "web"))
		if !regexp.MustCompile(`<CreateDate>20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ</CreateDate>`).MatchString(a.Body) {
			t.Error(a.Body)
		}
	})
}

func TestQueryBadInput(t *testing.T) {
	s := servertest.New(t, nil)
	role := s.MakeRole("web", servertest.TrustAdmin, "")
	form := servertest.Form
	call := func(c servertest.Call, change func(*servertest.Call)) servertest.Call {
		change(&c)
		return c
	}
	for name, tt := range map[string]struct {
		call   servertest.Call
		code   string
		status int
		want   string
	}{
		"unknown action":   {form("sts", "Foo"), "InvalidAction", 400, "Could not find operation Foo for version 2011-06-15"},
		"SAML":             {form("sts", "AssumeRoleWithSAML"), "InvalidAction", 400, "AssumeRoleWithSAML"},
		"action's case":    {form("sts", "getCallerIdentity"), "InvalidAction", 400, "getCallerIdentity"},
		"other version":    {call(form("sts", "GetCallerIdentity"), func(c *servertest.Call) { c.Body = strings.Replace(c.Body, "2011", "2012", 1) }), "InvalidAction", 400, "2012-06-15"},
		"other service":    {form("iam", "GetCallerIdentity"), "InvalidAction", 400, "Could not find operation GetCallerIdentity for version 2010-05-08"},
		"no action":        {call(form("iam", ""), func(c *servertest.Call) { c.Body = "Version=2010-05-08" }), "MissingAction", 400, "Action"},
		"nothing":          {call(form("sts", ""), func(c *servertest.Call) { c.Body = "" }), "MissingAction", 400, "Action"},
		"member twice":     {form("iam", "GetRole", "RoleName", "web", "RoleName", "other"), "MalformedInput", 400, "RoleName"},
		"in URL and body":  {call(form("iam", "GetRole", "RoleName", "web"), func(c *servertest.Call) { c.Target = "/?Action=DeleteRole" }), "MalformedInput", 400, "Action"},
		"JSON":             {call(form("sts", "GetCallerIdentity"), func(c *servertest.Call) { c.Header = http.Header{"Content-Type": {"application/json"}} }), "MalformedInput", 400, "application/json"},
		"multipart":        {call(form("sts", "GetCallerIdentity"), func(c *servertest.Call) { c.Header = http.Header{"Content-Type": {"multipart/form-data; boundary=x"}} }), "MalformedInput", 400, "multipart/form-data"},
		"bad escape":       {call(form("sts", "GetCallerIdentity"), func(c *servertest.Call) { c.Body += "&x=%zz" }), "MalformedInput", 400, "%zz"},
		"no number":        {form("sts", "AssumeRole", "RoleArn", role, "RoleSessionName", "s1", "DurationSeconds", "1h"), "MalformedInput", 400, "DurationSeconds"},
		"managed policies": {form("sts", "AssumeRole", "RoleArn", role, "RoleSessionName", "s1", "PolicyArns.member.1.arn", "arn:aws:iam::aws:policy/X"), "ValidationError", 400, "does not exist"},
		"many members":     {call(form("sts", "GetCallerIdentity"), func(c *servertest.Call) { c.Body += strings.Repeat("&x", 1000) }), "MalformedInput", 400, "1000"},
		"long name":        {call(form("sts", "GetCallerIdentity"), func(c *servertest.Call) { c.Body += "&" + strings.Repeat(".", 1<<19) + "=" }), "MalformedInput", 400, "256"},
		"large body":       {call(form("sts", "GetCallerIdentity"), func(c *servertest.Call) { c.Body += "&x=" + strings.Repeat("y", 1<<20) }), "RequestEntityTooLarge", 413, "1048576"},
	} {
		t.Run(name, func(t *testing.T) {
			a := s.Send(tt.call)
			e := refusal(t, a, map[string]string{"sts": stsSpace, "iam": iamSpace}[tt.call.Service])
			if a.Status != tt.status || e.Code != tt.code || !strings.Contains(e.Message, tt.want) {
				t.Errorf("got %d %s %q, want %d %s with %q", a.Status, e.Code, e.Message, tt.status, tt.code, tt.want)
			}
		})
	}
	t.Run("without a signature", func(t *testing.T) { // strangers cannot have a form decoded whose names are long
		c := form("", "AssumeRoleWithWebIdentity", strings.Repeat(".", 900_000), "x")
		c.Body = strings.Replace(c.Body, "Version=", "Version=2011-06-15", 1)
		if e := refusal(t, s.Send(c), stsSpace); e.Code != "MissingAuthenticationToken" {
			t.Errorf("%+v", e)
		}
	})
}

// Requests are counted by service, operation and code, and leave one line each in the log and the audit log, without secrets.
func TestRecords(t *testing.T) {
	registry := prometheus.NewRegistry()
	s := servertest.New(t, func(cfg *server.Config) { cfg.Registry = registry })
	role := s.MakeRole("web", servertest.TrustAdmin, "")
	session := s.Session(t, s.Admin, role, nil)
	identity := servertest.Form("sts", "GetCallerIdentity")
	identity.As = &session
	last := s.Send(identity)
	unknown := servertest.Form("sts", "Attack-"+strings.Repeat("x", 100))
	for range 3 {
		s.Send(unknown)
	}
	for _, want := range []struct {
		service, operation, code string
		n                        float64
	}{
		{"iam", "CreateRole", "", 1}, {"sts", "AssumeRole", "", 1}, {"sts", "GetCallerIdentity", "", 1}, {"sts", "Unknown", "InvalidAction", 3},
	} {
		if got := counted(t, registry, want.service, want.operation, want.code); got != want.n {
			t.Errorf("%+v: %v counted", want, got)
		}
	}
	credentials, err := session.Credentials.Retrieve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	admin, err := s.Admin.Credentials.Retrieve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	log := s.Log.String()
	if id := last.Header.Get("X-Amzn-Requestid"); strings.Count(log, id) != 1 || !strings.Contains(log, `"operation":"GetCallerIdentity"`) {
		t.Errorf("request %s is not in the log once", id)
	}
	entries := s.Audit()
	newest := entries[len(entries)-4]
	if newest["requestId"] != last.Header.Get("X-Amzn-Requestid") || newest["caller"] != "arn:aws:sts::111122223333:assumed-role/web/test" || newest["accessKey"] != credentials.AccessKeyID {
		t.Errorf("audit entry %v", newest)
	}
	var issued bool
	for _, entry := range entries {
		issued = issued || entry["issuedKey"] == credentials.AccessKeyID && entry["roleArn"] == role
	}
	if !issued {
		t.Error("no audit entry says that the session's key was given out")
	}
	for _, secret := range []string{credentials.SecretAccessKey, credentials.SessionToken, admin.SecretAccessKey} {
		if strings.Contains(log, secret) {
			t.Error("the log holds a secret")
		}
		for _, entry := range entries {
			for name, value := range entry {
				if text, ok := value.(string); ok && strings.Contains(text, secret) {
					t.Errorf("%s of an audit entry holds a secret", name)
				}
			}
		}
	}
}
