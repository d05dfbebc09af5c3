package authn_test

import (
	"encoding/xml"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/podid/podid/internal/server"
	"github.com/podid/podid/internal/server/servertest"
)

// What is wrong with a signature, as each protocol spells it.
func TestRefusals(t *testing.T) {
	clock := &servertest.Clock{}
	s := servertest.New(t, func(cfg *server.Config) { cfg.Now = clock.Now })
	role := s.MakeRole("web", servertest.TrustAdmin, servertest.AllowAll)
	session := s.Session(t, s.Admin, role, func(in *sts.AssumeRoleInput) { in.DurationSeconds = aws.Int32(900) })
	another := s.Session(t, s.Admin, role, nil)
	as := func(cfg aws.Config, change func(*aws.Credentials)) *aws.Config {
		t.Helper()
		credentials, err := cfg.Credentials.Retrieve(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		change(&credentials)
		changed := s.As(credentials)
		return &changed
	}
	token := func(cfg aws.Config) string {
		credentials, err := cfg.Credentials.Retrieve(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return credentials.SessionToken
	}
	replace := func(old, with string) func(*http.Request) {
		return func(r *http.Request) {
			authorization := r.Header.Get("Authorization")
			if !strings.Contains(authorization, old) {
				t.Errorf("%q is not in %q", old, authorization)
			}
			r.Header.Set("Authorization", strings.Replace(authorization, old, with, 1))
		}
	}
	const (
		invalid  = "The security token included in the request is invalid."
		mismatch = "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details."
	)
	type kind struct {
		json, query  string
		jsonStatus   int
		queryStatus  int
		leastMessage string
	}
	var (
		missing    = kind{"MissingAuthenticationTokenException", "MissingAuthenticationToken", 403, 403, "Missing Authentication Token"}
		unknown    = kind{"UnrecognizedClientException", "InvalidClientTokenId", 403, 403, invalid}
		wrong      = kind{"InvalidSignatureException", "SignatureDoesNotMatch", 403, 403, mismatch}
		old        = kind{"InvalidSignatureException", "SignatureDoesNotMatch", 403, 403, "Signature expired: "}
		early      = kind{"InvalidSignatureException", "SignatureDoesNotMatch", 403, 403, "Signature not yet current: "}
		incomplete = kind{"IncompleteSignatureException", "IncompleteSignature", 400, 400, ""}
	)
	now := time.Now()
	for name, tt := range map[string]struct {
		as     *aws.Config
		at     time.Time
		change func(*http.Request)
		want   kind
	}{
		"no signature":            {change: func(r *http.Request) { r.Header.Del("Authorization") }, want: missing},
		"unknown key":             {as: as(s.Admin, func(c *aws.Credentials) { c.AccessKeyID = "AKIAIOSFODNN7EXAMPLE" }), want: unknown},
		"unknown session key":     {as: as(session, func(c *aws.Credentials) { c.AccessKeyID = "ASIAIOSFODNN7EXAMPLE" }), want: unknown},
		"another session's token": {as: as(session, func(c *aws.Credentials) { c.SessionToken = token(another) }), want: unknown},
		"token that is cut":       {as: as(session, func(c *aws.Credentials) { c.SessionToken = c.SessionToken[:len(c.SessionToken)-4] }), want: unknown},
		"token that is changed":   {as: as(session, func(c *aws.Credentials) { c.SessionToken = "A" + c.SessionToken[1:][:40] + "A" + c.SessionToken[42:] }), want: unknown},
		"session without token":   {as: as(session, func(c *aws.Credentials) { c.SessionToken = "" }), want: unknown},
		"user with a token":       {as: as(s.Admin, func(c *aws.Credentials) { c.SessionToken = token(session) }), want: unknown},
		"wrong secret":            {as: as(s.Admin, func(c *aws.Credentials) { c.SecretAccessKey += "x" }), want: wrong},
		"wrong secret of session": {as: as(session, func(c *aws.Credentials) { c.SecretAccessKey += "x" }), want: wrong},
		"tampered body":           {change: func(r *http.Request) { r.Body, r.ContentLength = http.NoBody, 0 }, want: wrong},
		"tampered query":          {change: func(r *http.Request) { r.URL.RawQuery = "x=y" }, want: wrong},
		"tampered header": {change: func(r *http.Request) {
			r.Header.Set("X-Amz-Date", now.Add(time.Second).UTC().Format("20060102T150405Z"))
		}, want: wrong},
		"tampered region":      {change: replace("/us-west-2/", "/us-east-1/"), want: wrong},
		"six minutes old":      {at: now.Add(-6 * time.Minute), want: old},
		"six minutes early":    {at: now.Add(6 * time.Minute), want: early},
		"four minutes old":     {at: now.Add(-4 * time.Minute)},
		"no credential":        {change: replace("Credential=", "Credentials="), want: incomplete},
		"no signed headers":    {change: replace("SignedHeaders=", "Headers="), want: incomplete},
		"no signature's value": {change: replace("Signature=", "Sig="), want: incomplete},
		"no date":              {change: func(r *http.Request) { r.Header.Del("X-Amz-Date") }, want: incomplete},
	} {
		t.Run(name, func(t *testing.T) {
			do := func(call servertest.Call) *servertest.Answer {
				call.As, call.At = tt.as, tt.at
				r := s.Sign(call)
				if tt.change != nil {
					tt.change(r)
				}
				return s.Do(r)
			}
			query := do(servertest.Form("sts", "GetCallerIdentity"))
			rest := do(servertest.Call{Service: "eks", Method: http.MethodPost, Target: "/clusters/local/pod-identity-associations",
				Body: `{"namespace":"carts","serviceAccount":"none","roleArn":"arn:aws:iam::111122223333:role/missing"}`})
			if tt.want == (kind{}) {
				if query.Status != 200 || s.Refusal(rest).Code == "" || rest.Status != 404 && rest.Status != 400 {
					t.Errorf("a good signature: %d %s, %d %s", query.Status, query.Body, rest.Status, rest.Body)
				}
				return
			}
			e := s.Refusal(rest)
			if rest.Status != tt.want.jsonStatus || e.Code != tt.want.json || !strings.Contains(e.Message, tt.want.leastMessage) || rest.Header.Get("X-Amzn-Requestid") == "" {
				t.Errorf("restJson1: %d %s, want %d %s", rest.Status, rest.Body, tt.want.jsonStatus, tt.want.json)
			}
			var x struct {
				Code    string `xml:"Error>Code"`
				Message string `xml:"Error>Message"`
			}
			if err := xml.Unmarshal([]byte(query.Body), &x); err != nil {
				t.Fatal(err)
			}
			if query.Status != tt.want.queryStatus || x.Code != tt.want.query || !strings.Contains(x.Message, tt.want.leastMessage) || x.Message == "" {
				t.Errorf("awsQuery: %d %s, want %d %s", query.Status, query.Body, tt.want.queryStatus, tt.want.query)
			}
		})
	}

	t.Run("a request recorded and sent again", func(t *testing.T) {
		send := func() *servertest.Answer {
			call := servertest.Form("sts", "GetCallerIdentity")
			call.At = now
			return s.Send(call)
		}
		if a := send(); a.Status != 200 {
			t.Errorf("at once: %s", a.Body)
		}
		clock.Advance(6 * time.Minute)
		if a := send(); a.Status != 403 || !strings.Contains(a.Body, "Signature expired") {
			t.Errorf("after six minutes: %d %s", a.Status, a.Body)
		}
	})
	t.Run("a session that is over", func(t *testing.T) {
		call := servertest.Form("sts", "GetCallerIdentity")
		call.As, call.At = &session, clock.Now()
		if a := s.Send(call); a.Status != 200 {
			t.Errorf("before: %s", a.Body)
		}
		clock.Advance(10 * time.Minute)
		call.At = clock.Now()
		if a := s.Send(call); a.Status != 403 || !strings.Contains(a.Body, "<Code>ExpiredToken</Code>") || !strings.Contains(a.Body, "The security token included in the request is expired") {
			t.Errorf("awsQuery: %d %s", a.Status, a.Body)
		}
		a := s.Send(servertest.Call{Service: "eks", Target: "/clusters", As: &session, At: clock.Now()})
		if e := s.Refusal(a); a.Status != 403 || e.Code != "ExpiredTokenException" {
			t.Errorf("restJson1: %d %s", a.Status, a.Body)
		}
	})
}

// A signature for one service is none for another.
func TestScope(t *testing.T) {
	s := servertest.New(t, nil)
	form := servertest.Form("iam", "ListRoles")
	form.Service = "ec2"
	form.Header = http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
	if a := s.Send(form); a.Status != 404 || !strings.Contains(a.Body, "ec2") {
		t.Errorf("a service that is not served: %d %s", a.Status, a.Body)
	}
	if a := s.Send(servertest.Call{Service: "eks-auth", Target: "/clusters"}); a.Status == 200 {
		t.Errorf("EKS answered a request for EKS Auth: %s", a.Body)
	}
}
