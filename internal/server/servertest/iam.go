package servertest

import (
	"errors"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// Policies in short.
const (
	AdminARN   = "arn:aws:iam::" + AccountID + ":user/admin"
	TrustAdmin = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"AWS":"` + AdminARN + `"},
		"Action":["sts:AssumeRole","sts:TagSession","sts:SetSourceIdentity"]}}`
	AllowAll = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}`
)

// RoleARN names a role of the account.
func RoleARN(name string) string { return "arn:aws:iam::" + AccountID + ":role/" + name }

// Trust is a trust policy of one statement that allows a principal, in JSON, actions of STS (in JSON too), under a condition or "".
func Trust(principal, actions, condition string) string {
	if condition != "" {
		condition = `,"Condition":` + condition
	}
	return `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":` + principal + `,"Action":` + actions + condition + `}}`
}

// Allow is an identity policy of one statement, under a condition or "".
func Allow(actions, resource, condition string) string {
	if condition != "" {
		condition = `,"Condition":` + condition
	}
	return `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":` + actions + `,"Resource":"` + resource + `"` + condition + `}}`
}

// Assume lets somebody assume a role and returns the session. change, if not nil, changes the call before.
func (s *Server) Assume(t testing.TB, by aws.Config, role string, change func(*sts.AssumeRoleInput)) (aws.Config, *sts.AssumeRoleOutput, error) {
	t.Helper()
	in := &sts.AssumeRoleInput{RoleArn: &role, RoleSessionName: aws.String("test")}
	if change != nil {
		change(in)
	}
	out, err := sts.NewFromConfig(by).AssumeRole(t.Context(), in)
	if err != nil {
		return aws.Config{}, nil, err
	}
	return s.As(aws.Credentials{
		AccessKeyID: *out.Credentials.AccessKeyId, SecretAccessKey: *out.Credentials.SecretAccessKey, SessionToken: *out.Credentials.SessionToken,
	}), out, nil
}

// Session is Assume that must succeed.
func (s *Server) Session(t testing.TB, by aws.Config, role string, change func(*sts.AssumeRoleInput)) aws.Config {
	t.Helper()
	cfg, _, err := s.Assume(t, by, role, change)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// WantRefused checks that a call was refused with a code and a status, in a message that holds all the parts.
func WantRefused(t testing.TB, err error, code string, status int, parts ...string) {
	t.Helper()
	var answer smithy.APIError
	var response *smithyhttp.ResponseError
	if !errors.As(err, &answer) || !errors.As(err, &response) {
		t.Errorf("got error %v, want %s %d", err, code, status)
		return
	}
	if answer.ErrorCode() != code || response.HTTPStatusCode() != status {
		t.Errorf("got %s %d (%s), want %s %d", answer.ErrorCode(), response.HTTPStatusCode(), answer.ErrorMessage(), code, status)
	}
	for _, part := range parts {
		if !strings.Contains(answer.ErrorMessage(), part) {
			t.Errorf("message %q does not say %q", answer.ErrorMessage(), part)
		}
	}
}
