package server_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/aws/smithy-go"

	"github.com/podid/podid/internal/server/servertest"
)

// TestBucketPolicies reads an object as a session of a role, under policies of the bucket and of the role.
// See https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html.
func TestBucketPolicies(t *testing.T) {
	s := servertest.New(t, nil)
	admin := s3.NewFromConfig(s.Admin, func(o *s3.Options) { o.UsePathStyle = true })
	bucket, object := aws.String("data"), aws.String("a/x.txt")
	if _, err := admin.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: bucket}); err != nil {
		t.Fatal(err)
	}
	if _, err := admin.PutObject(t.Context(), &s3.PutObjectInput{Bucket: bucket, Key: object, Body: strings.NewReader("x")}); err != nil {
		t.Fatal(err)
	}
	const (
		role    = `{"AWS":"ROLE"}`
		session = `{"AWS":"SESSION"}`
		account = `{"AWS":"111122223333"}`
		reads   = "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess"
		other   = "arn:aws:iam::aws:policy/AmazonDynamoDBReadOnlyAccess" // allows nothing in S3
	)
	allowed, sqs := servertest.Allow(`"s3:*"`, "*", ""), servertest.Allow(`"sqs:*"`, "*", "")
	statement := func(effect, principal, condition string) string {
		return `{"Effect":"` + effect + `","Principal":` + principal + `,"Action":"s3:GetObject","Resource":"arn:aws:s3:::data/*"` + condition + `}`
	}
	for name, test := range map[string]struct {
		bucket   string // statements of its policy; none if empty
		role     string // policy
		boundary string // ARN
		session  string // session policy
		why      string // of the denial; allowed if empty
	}{
		"neither":                       {"", sqs, "", "", "no identity-based policy allows the s3:GetObject action"},
		"the role's policy":             {"", allowed, "", "", ""},
		"the bucket's policy":           {statement("Allow", role, ""), sqs, "", "", ""},
		"everybody":                     {statement("Allow", `"*"`, ""), sqs, "", "", ""},
		"only the account":              {statement("Allow", account, ""), sqs, "", "", "no identity-based policy"},
		"another role":                  {statement("Allow", `{"AWS":"`+servertest.AdminARN+`"}`, ""), sqs, "", "", "no identity-based policy"},
		"bucket denies":                 {statement("Deny", `"*"`, ""), allowed, "", "", "explicit deny in a resource-based policy"},
		"role denies":                   {statement("Allow", role, ""), strings.Replace(allowed, "Allow", "Deny", 1), "", "", "explicit deny in an identity-based policy"},
		"role within boundary":          {statement("Allow", role, ""), sqs, reads, "", ""},
		"role beyond boundary":          {statement("Allow", role, ""), sqs, other, "", "no permissions boundary allows"},
		"role beyond session policy":    {statement("Allow", role, ""), sqs, "", sqs, "no session policy allows"},
		"session beyond boundary":       {statement("Allow", session, ""), sqs, other, "", ""},
		"session beyond session policy": {statement("Allow", session, ""), sqs, "", sqs, ""},
		"session, but denied": {
			statement("Allow", session, ""), strings.Replace(allowed, "Allow", "Deny", 1), "", "", "explicit deny in an identity-based policy",
		},
		"condition that holds": {
			statement("Allow", role, `,"Condition":{"StringEquals":{"aws:PrincipalTag/team":"web"}}`), sqs, "", "", "",
		},
		"condition that does not": {
			statement("Allow", role, `,"Condition":{"StringEquals":{"aws:PrincipalTag/team":"db"}}`), sqs, "", "", "no identity-based policy",
		},
	} {
		t.Run(name, func(t *testing.T) {
			roleName := strings.Trim(strings.Map(func(r rune) rune {
				if 'a' <= r && r <= 'z' {
					return r
				}
				return '-'
			}, name), "-")
			arn := s.MakeRole(roleName, servertest.TrustAdmin, test.role)
			if test.boundary != "" {
				in := &iam.PutRolePermissionsBoundaryInput{RoleName: &roleName, PermissionsBoundary: &test.boundary}
				if _, err := iam.NewFromConfig(s.Admin).PutRolePermissionsBoundary(t.Context(), in); err != nil {
					t.Fatal(err)
				}
			}
			if test.bucket != "" {
				names := strings.NewReplacer("ROLE", arn, "SESSION", "arn:aws:sts::111122223333:assumed-role/"+roleName+"/test")
				text := `{"Version":"2012-10-17","Statement":[` + names.Replace(test.bucket) + `]}`
				if _, err := admin.PutBucketPolicy(t.Context(), &s3.PutBucketPolicyInput{Bucket: bucket, Policy: &text}); err != nil {
					t.Fatal(err)
				}
			} else if _, err := admin.DeleteBucketPolicy(t.Context(), &s3.DeleteBucketPolicyInput{Bucket: bucket}); err != nil {
				t.Fatal(err)
			}
			by := s.Session(t, s.Admin, arn, func(in *sts.AssumeRoleInput) {
				in.Tags = []types.Tag{{Key: aws.String("team"), Value: aws.String("web")}}
				if test.session != "" {
					in.Policy = &test.session
				}
			})
			client := s3.NewFromConfig(by, func(o *s3.Options) { o.UsePathStyle = true })
			_, err := client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: bucket, Key: object})
			var refused smithy.APIError
			if test.why == "" && err != nil || test.why != "" && (!errors.As(err, &refused) || refused.ErrorCode() != "AccessDenied" || !strings.Contains(refused.ErrorMessage(), test.why)) {
				t.Errorf("got %v, want %q", err, test.why)
			}
		})
	}
	var explained bool
	for _, line := range s.Audit() {
		reason, _ := line["reason"].(string)
		explained = explained || strings.Contains(reason, `denied by resource-based policy "data", statement 1`)
	}
	if !explained {
		t.Error("no line of the audit log names the bucket policy's statement")
	}
}

// TestBucketPolicyOfNobody wants principals of the account to be there.
func TestBucketPolicyOfNobody(t *testing.T) {
	s := servertest.New(t, nil)
	client, bucket := s3.NewFromConfig(s.Admin, func(o *s3.Options) { o.UsePathStyle = true }), aws.String("data")
	if _, err := client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: bucket}); err != nil {
		t.Fatal(err)
	}
	text := `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"AWS":"` + servertest.RoleARN("none") + `"},"Action":"s3:*","Resource":"*"}}`
	_, err := client.PutBucketPolicy(t.Context(), &s3.PutBucketPolicyInput{Bucket: bucket, Policy: &text})
	servertest.WantRefused(t, err, "MalformedPolicy", 400, "Invalid principal in policy", "role/none")
}

// TestBucketPolicyMeansTheRole deletes the role that a bucket policy names, and makes another of the same name: the policy does not mean
// it, also after a restart.
func TestBucketPolicyMeansTheRole(t *testing.T) {
	s := servertest.New(t, nil)
	bucket, name := aws.String("data"), aws.String("web")
	clients := func(s *servertest.Server) (*s3.Client, *s3.Client) {
		usePath := func(o *s3.Options) { o.UsePathStyle = true }
		return s3.NewFromConfig(s.Admin, usePath), s3.NewFromConfig(s.Session(t, s.Admin, servertest.RoleARN("web"), nil), usePath)
	}
	s.MakeRole("web", servertest.TrustAdmin, "")
	admin, web := clients(s)
	if _, err := admin.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: bucket}); err != nil {
		t.Fatal(err)
	}
	text := `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"AWS":"` + servertest.RoleARN("web") + `"},"Action":"s3:ListBucket","Resource":"*"}}`
	if _, err := admin.PutBucketPolicy(t.Context(), &s3.PutBucketPolicyInput{Bucket: bucket, Policy: &text}); err != nil {
		t.Fatal(err)
	}
	if _, err := web.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: bucket}); err != nil {
		t.Errorf("the role itself: %v", err)
	}
	if out, err := admin.GetBucketPolicy(t.Context(), &s3.GetBucketPolicyInput{Bucket: bucket}); err != nil || *out.Policy != text {
		t.Errorf("got %v, %v; want the text as it was put", out, err)
	}
	if _, err := iam.NewFromConfig(s.Admin).DeleteRole(t.Context(), &iam.DeleteRoleInput{RoleName: name}); err != nil {
		t.Fatal(err)
	}
	s.MakeRole("web", servertest.TrustAdmin, "")
	check := func(when string, s *servertest.Server) {
		admin, web := clients(s)
		_, err := web.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: bucket})
		var refused smithy.APIError
		if !errors.As(err, &refused) || refused.ErrorCode() != "AccessDenied" {
			t.Errorf("%s: a role of the same name: got %v, want AccessDenied", when, err)
		}
		out, err := admin.GetBucketPolicy(t.Context(), &s3.GetBucketPolicyInput{Bucket: bucket})
		if err != nil || !strings.Contains(*out.Policy, `"AWS":"AROA`) {
			t.Errorf("%s: got %v, %v; want the id of the role that is gone", when, out, err)
		}
	}
	check("at once", s)
	s.Stop()
	check("after a restart", servertest.Open(t, s.DataDir, nil))
}
