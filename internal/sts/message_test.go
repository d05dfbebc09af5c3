package sts_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/podid/podid/internal/server"
	"github.com/podid/podid/internal/server/servertest"
)

// messageOf is the sealed explanation that came with a refusal.
func messageOf(t *testing.T, err error) string {
	t.Helper()
	var response *smithyhttp.ResponseError
	if !errors.As(err, &response) {
		t.Fatalf("no answer: %v", err)
	}
	return response.Response.Header.Get("X-Podid-Authorization-Message")
}

func decode(t *testing.T, by aws.Config, message string) (string, error) {
	t.Helper()
	out, err := sts.NewFromConfig(by).DecodeAuthorizationMessage(t.Context(), &sts.DecodeAuthorizationMessageInput{EncodedMessage: &message})
	if err != nil {
		return "", err
	}
	return *out.DecodedMessage, nil
}

type decodedMessage struct {
	Allowed, ExplicitDeny bool
	MatchedStatements     struct {
		Items []struct {
			StatementID, Effect, Policy string
			Actions, Resources          struct{ Items []struct{ Value string } }
			Conditions                  struct{ Items []struct{ Key string } }
		}
	}
	Failures struct{ Items []any }
	Context  struct {
		Principal        struct{ ID, ARN string }
		Action, Resource string
		Conditions       struct {
			Items []struct {
				Key    string
				Values struct{ Items []struct{ Value string } }
			}
		}
	}
	Explanation string
}

// Who was denied gets a message that says why, and only those may read it who may do so in its account.
func TestDecodeAuthorizationMessage(t *testing.T) {
	const member = "444455556666"
	s := servertest.New(t, func(cfg *server.Config) { cfg.MemberAccountIDs = []string{member} })
	denied := s.Limited("denied", `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":"eks:Describe*","Resource":"*","Condition":{"StringEquals":{"aws:RequestedRegion":"eu-north-1"}}},
		{"Effect":"Deny","Sid":"NoRoles","Action":["iam:CreateRole","iam:DeleteRole"],"Resource":"arn:aws:iam::*:role/*","Condition":{"Bool":{"aws:SecureTransport":"false"}}}]}`)
	_, implicit := eks.NewFromConfig(denied).DescribeCluster(t.Context(), &eks.DescribeClusterInput{Name: aws.String(servertest.Cluster)})
	_, explicit := iam.NewFromConfig(denied).DeleteRole(t.Context(), &iam.DeleteRoleInput{RoleName: aws.String("web")})
	for _, err := range []error{implicit, explicit} {
		if text := messageOf(t, err); text == "" || len(text) > 4096 || strings.Contains(err.Error(), text) {
			t.Fatalf("message %q of %v", text, err)
		}
	}
	read := func(err error) (m decodedMessage, text string) {
		t.Helper()
		text, failed := decode(t, s.Admin, messageOf(t, err))
		if failed != nil {
			t.Fatal(failed)
		}
		if err := json.Unmarshal([]byte(text), &m); err != nil {
			t.Fatal(err)
		}
		return m, text
	}
	m, text := read(implicit)
	if m.Allowed || m.ExplicitDeny || len(m.MatchedStatements.Items) != 0 || m.Context.Action != "eks:DescribeCluster" ||
		m.Context.Resource != "arn:aws:eks:us-west-2:111122223333:cluster/local" || m.Context.Principal.ARN != "arn:aws:sts::111122223333:assumed-role/denied/limited" ||
		!strings.HasPrefix(m.Context.Principal.ID, "AROA") || !strings.Contains(m.Explanation, `want "eu-north-1", request has "us-west-2"`) ||
		!strings.Contains(text, `"matchedStatements":{"items":[]},"failures":{"items":[]}`) {
		t.Errorf("%s", text)
	}
	region := ""
	for _, c := range m.Context.Conditions.Items {
		if c.Key == "aws:RequestedRegion" {
			region = c.Values.Items[0].Value
		}
	}
	if region != servertest.Region {
		t.Errorf("region %q in %s", region, text)
	}
	m, text = read(explicit)
	if len(m.MatchedStatements.Items) != 1 {
		t.Fatal(text)
	}
	if st := m.MatchedStatements.Items[0]; !m.ExplicitDeny || st.StatementID != "NoRoles" || st.Effect != "DENY" || st.Policy != "own" || len(st.Actions.Items) != 2 ||
		st.Resources.Items[0].Value != "arn:aws:iam::*:role/*" || st.Conditions.Items[0].Key != "aws:SecureTransport" {
		t.Errorf("%s", text)
	}

	message := messageOf(t, implicit)
	inside := s.Session(t, s.Admin, "arn:aws:iam::"+member+":role/OrganizationAccountAccessRole", nil)
	last := string(rune(message[len(message)-1] ^ 1))
	for name, tt := range map[string]struct {
		by      aws.Config
		message string
		code    string
		status  int
	}{
		"without permission": {denied, message, "AccessDenied", 403},
		"another account":    {inside, message, "InvalidAuthorizationMessageException", 400},
		"changed":            {s.Admin, message[:len(message)-1] + last, "InvalidAuthorizationMessageException", 400},
		"cut":                {s.Admin, message[:len(message)-4], "InvalidAuthorizationMessageException", 400},
		"with a line break":  {s.Admin, message[:40] + "\n" + message[40:], "InvalidAuthorizationMessageException", 400},
		"made up":            {s.Admin, "abcd", "InvalidAuthorizationMessageException", 400},
		"too long":           {s.Admin, strings.Repeat("a", 10241), "ValidationError", 400},
		"of a user":          {sessionToken(t, s, s.Admin), message, "AccessDenied", 403},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := decode(t, tt.by, tt.message)
			servertest.WantRefused(t, err, tt.code, tt.status)
		})
	}
	t.Run("refused roles have none", func(t *testing.T) { // it would tell whether there is such a role
		s.MakeRole("closed", servertest.Trust(`{"AWS":"`+member+`"}`, assume, ""), "")
		for _, name := range []string{"closed", "absent"} {
			_, _, err := s.Assume(t, s.Admin, servertest.RoleARN(name), nil)
			servertest.WantRefused(t, err, "AccessDenied", 403)
			if text := messageOf(t, err); text != "" {
				t.Errorf("%s: %s", name, text)
			}
		}
	})
	t.Run("other refusals have none", func(t *testing.T) {
		_, err := eks.NewFromConfig(s.Admin).DescribeCluster(t.Context(), &eks.DescribeClusterInput{Name: aws.String("absent")})
		if text := messageOf(t, err); text != "" {
			t.Error(text)
		}
	})
}

func TestGetAccessKeyInfo(t *testing.T) {
	s := servertest.New(t, nil)
	client := sts.NewFromConfig(s.Admin)
	_, out, err := s.Assume(t, s.Admin, s.MakeRole("web", servertest.TrustAdmin, ""), nil)
	if err != nil {
		t.Fatal(err)
	}
	own, err := s.Admin.Credentials.Retrieve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{own.AccessKeyID, *out.Credentials.AccessKeyId, "ASIARTX3GSDSXGHO2UL2"} {
		got, err := client.GetAccessKeyInfo(t.Context(), &sts.GetAccessKeyInfoInput{AccessKeyId: &id})
		if err != nil || *got.Account != servertest.AccountID {
			t.Errorf("%s: %v %v", id, got, err)
		}
	}
	for id, want := range map[string]string{
		"AKIAIOSFODNN7EXAMPLE": "does not tell its account", "AROARTX3GSDSXGHO2UL2A": "does not tell its account", "ASIARTX3GSDSXGHO2UL21": "does not tell its account",
		"ASIA": "'accessKeyId'", "ASIARTX3GSDSXGHO2-L2": "'accessKeyId'", strings.Repeat("A", 129): "'accessKeyId'",
	} {
		_, err := client.GetAccessKeyInfo(t.Context(), &sts.GetAccessKeyInfoInput{AccessKeyId: &id})
		servertest.WantRefused(t, err, "ValidationError", 400, want)
	}
	_, err = sts.NewFromConfig(s.Limited("none", "")).GetAccessKeyInfo(t.Context(), &sts.GetAccessKeyInfoInput{AccessKeyId: &own.AccessKeyID})
	servertest.WantRefused(t, err, "AccessDenied", 403, "sts:GetAccessKeyInfo")
}

func TestUnserved(t *testing.T) {
	s := servertest.New(t, nil)
	for _, action := range []string{"AssumeRoot", "GetDelegatedAccessToken", "GetWebIdentityToken", "AssumeRoleWithSAML"} {
		a := s.Send(servertest.Form("sts", action))
		if a.Status != http.StatusBadRequest || !strings.Contains(a.Body, "<Code>InvalidAction</Code><Message>podid does not serve the operation "+action+".</Message>") {
			t.Errorf("%s: %d %s", action, a.Status, a.Body)
		}
	}
	unsigned := servertest.Form("", "AssumeRoleWithSAML")
	unsigned.Body = strings.Replace(unsigned.Body, "Version=", "Version=2011-06-15", 1)
	if a := s.Send(unsigned); a.Status != http.StatusBadRequest || !strings.Contains(a.Body, "<Code>InvalidAction</Code>") {
		t.Errorf("unsigned: %d %s", a.Status, a.Body)
	}
}
