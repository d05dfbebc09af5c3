package sts_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/podid/podid/internal/server"
	"github.com/podid/podid/internal/server/servertest"
)

func TestGetCallerIdentity(t *testing.T) {
	clock := &servertest.Clock{}
	s := servertest.New(t, func(cfg *server.Config) { cfg.Now = clock.Now })
	who, err := sts.NewFromConfig(s.Admin).GetCallerIdentity(t.Context(), nil)
	if err != nil || *who.Arn != servertest.AdminARN || !strings.HasPrefix(*who.UserId, "AIDA") || *who.Account != servertest.AccountID {
		t.Errorf("the administrator is %+v, %v", who, err)
	}
	t.Run("policies cannot deny it", func(t *testing.T) {
		denied := s.Limited("denied", `{"Version":"2012-10-17","Statement":{"Effect":"Deny","Action":"*","Resource":"*"}}`)
		who, err := sts.NewFromConfig(denied).GetCallerIdentity(t.Context(), nil)
		if err != nil || *who.Arn != "arn:aws:sts::111122223333:assumed-role/denied/limited" {
			t.Errorf("%+v, %v", who, err)
		}
	})
	t.Run("presigned", func(t *testing.T) {
		signed, err := sts.NewPresignClient(sts.NewFromConfig(s.Admin)).PresignGetCallerIdentity(t.Context(), nil, servertest.WithClusterHeader("edge"))
		if err != nil {
			t.Fatal(err)
		}
		get := func(change func(*http.Request)) *servertest.Answer {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, signed.URL, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("X-K8s-Aws-Id", "edge")
			change(r)
			return s.Do(r)
		}
		if a := get(func(*http.Request) {}); a.Status != 200 || !strings.Contains(a.Body, "<Arn>"+servertest.AdminARN+"</Arn>") {
			t.Errorf("%d %s", a.Status, a.Body)
		}
		for name, change := range map[string]func(*http.Request){
			"without the signed header": func(r *http.Request) { r.Header.Del("X-K8s-Aws-Id") },
			"with another value":        func(r *http.Request) { r.Header.Set("X-K8s-Aws-Id", "prod") },
			"with another parameter":    func(r *http.Request) { r.URL.RawQuery += "&x=y" },
			"of another action": func(r *http.Request) {
				r.URL.RawQuery = strings.Replace(r.URL.RawQuery, "GetCallerIdentity", "AssumeRole", 1)
			},
			"sent with a body":           func(r *http.Request) { r.Method = http.MethodPost },
			"on another path":            func(r *http.Request) { r.URL.Path = "/x" },
			"of another key's signature": func(r *http.Request) { r.URL.RawQuery = strings.Replace(r.URL.RawQuery, "AKIA", "AKIB", 1) },
		} {
			if a := get(change); a.Status != 403 {
				t.Errorf("%s: %d %s", name, a.Status, a.Body)
			}
		}
		clock.Advance(14 * time.Minute) // clients of aws-iam-authenticator keep it so long
		if a := get(func(*http.Request) {}); a.Status != 200 {
			t.Errorf("after 14 minutes: %d %s", a.Status, a.Body)
		}
		clock.Advance(2 * time.Minute)
		if a := get(func(*http.Request) {}); a.Status != 403 || !strings.Contains(a.Body, "SignatureDoesNotMatch") || !strings.Contains(a.Body, "Signature expired") {
			t.Errorf("after 16 minutes: %d %s", a.Status, a.Body)
		}
	})
}

// Each condition lets a session list a bucket only if the key has the value it should.
func TestConditionKeys(t *testing.T) {
	clock := &servertest.Clock{}
	s := servertest.New(t, func(cfg *server.Config) { cfg.Now = clock.Now })
	if err := buckets(t, s.Admin).create("data"); err != nil {
		t.Fatal(err)
	}
	now := time.Now().UTC()
	past, future := now.Add(-time.Hour).Format(time.RFC3339), now.Add(time.Hour).Format(time.RFC3339)
	for i, tt := range []struct{ met, unmet string }{
		{`{"IpAddress":{"aws:SourceIp":"127.0.0.0/8"}}`, `{"NotIpAddress":{"aws:SourceIp":"127.0.0.0/8"}}`},
		{`{"StringLike":{"aws:UserAgent":"aws-sdk-go-v2/*"}}`, `{"StringLike":{"aws:UserAgent":"Boto3/*"}}`},
		{`{"DateGreaterThan":{"aws:CurrentTime":"` + past + `"}}`, `{"DateGreaterThan":{"aws:CurrentTime":"` + future + `"}}`},
		{`{"NumericGreaterThan":{"aws:EpochTime":"1700000000"}}`, `{"NumericLessThan":{"aws:EpochTime":"1700000000"}}`},
		{`{"DateGreaterThan":{"aws:TokenIssueTime":"` + past + `"}}`, `{"DateLessThan":{"aws:TokenIssueTime":"` + past + `"}}`},
		{`{"StringEquals":{"aws:PrincipalTag/Team":"a"}}`, `{"StringEquals":{"aws:PrincipalTag/Team":"b"}}`},
		{`{"ArnEquals":{"aws:PrincipalArn":"arn:aws:iam::111122223333:role/met-*"}}`, `{"ArnLike":{"aws:PrincipalArn":"arn:aws:sts::*:assumed-role/*"}}`},
		{`{"StringEquals":{"aws:PrincipalAccount":"111122223333"}}`, `{"StringEquals":{"aws:PrincipalAccount":"444455556666"}}`},
		{`{"StringEquals":{"aws:PrincipalType":"AssumedRole"}}`, `{"StringEquals":{"aws:PrincipalType":"User"}}`},
		{`{"StringLike":{"aws:userid":"AROA*:test"}}`, `{"StringLike":{"aws:userid":"*:other"}}`},
		{`{"Null":{"aws:username":"true"}}`, `{"StringLike":{"aws:username":"*"}}`},
		{`{"StringEquals":{"aws:RequestedRegion":"us-west-2"}}`, `{"StringNotEquals":{"aws:RequestedRegion":"us-west-2"}}`},
		{`{"Bool":{"aws:SecureTransport":"false"}}`, `{"Bool":{"aws:SecureTransport":"true"}}`},
		{`{"Bool":{"aws:PrincipalIsAWSService":"false"}}`, `{"Bool":{"aws:PrincipalIsAWSService":"true"}}`},
	} {
		trust := servertest.Trust(account, aTag, "")
		session := func(name, condition string) client {
			name += "-" + string(rune('a'+i))
			arn := s.MakeRole(name, trust, servertest.Allow(`"s3:ListBucket"`, "*", condition))
			return buckets(t, s.Session(t, s.Admin, arn, func(in *sts.AssumeRoleInput) { in.Tags = tags("team", "a") }))
		}
		if err := session("met", tt.met).list("data"); err != nil {
			t.Errorf("%s: %v", tt.met, err)
		}
		if err := session("unmet", tt.unmet).list("data"); err == nil {
			t.Errorf("%s let the session in", tt.unmet)
		} else {
			servertest.WantRefused(t, err, "AccessDenied", 403)
		}
	}
	t.Run("in trust policies", func(t *testing.T) {
		for name, condition := range map[string]string{
			"username": `{"StringEquals":{"aws:username":"admin"}}`, "session": `{"StringLike":{"sts:RoleSessionName":"${aws:username}-*"}}`,
		} {
			arn := s.MakeRole("trusts-"+name, servertest.Trust(account, assume, condition), "")
			if _, _, err := s.Assume(t, s.Admin, arn, func(in *sts.AssumeRoleInput) { in.RoleSessionName = aws.String("admin-1") }); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			other := s.Limited("other-"+name, servertest.AllowAll)
			_, _, err := s.Assume(t, other, arn, func(in *sts.AssumeRoleInput) { in.RoleSessionName = aws.String("admin-1") })
			servertest.WantRefused(t, err, "AccessDenied", 403)
		}
	})
	t.Run("time passes", func(t *testing.T) {
		arn := s.MakeRole("until", servertest.TrustAdmin, servertest.Allow(`"s3:ListBucket"`, "*", `{"DateLessThan":{"aws:CurrentTime":"`+now.Add(2*time.Minute).Format(time.RFC3339)+`"}}`))
		c := buckets(t, s.Session(t, s.Admin, arn, nil))
		if err := c.list("data"); err != nil {
			t.Error(err)
		}
		clock.Advance(3 * time.Minute) // less than signatures may be off
		servertest.WantRefused(t, c.list("data"), "AccessDenied", 403)
	})
}
