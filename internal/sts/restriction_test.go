//lint:file-ignore SA1019 the successor of PackedPolicySize is not served yet, and older clients know only PackedPolicySize

package sts_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"

	"github.com/podid/podid/internal/server/servertest"
)

func managed(arns ...string) []types.PolicyDescriptorType {
	var list []types.PolicyDescriptorType
	for i := range arns {
		list = append(list, types.PolicyDescriptorType{Arn: &arns[i]})
	}
	return list
}

func newPolicy(t *testing.T, s *servertest.Server, name, text string) string {
	t.Helper()
	out, err := iam.NewFromConfig(s.Admin).CreatePolicy(t.Context(), &iam.CreatePolicyInput{PolicyName: &name, PolicyDocument: &text})
	if err != nil {
		t.Fatal(err)
	}
	return *out.Policy.Arn
}

// What a session may do is what the role's policies allow and, of its session policies, inline or managed, any.
func TestManagedSessionPolicies(t *testing.T) {
	s := servertest.New(t, nil)
	arn := s.MakeRole("web", servertest.TrustAdmin, servertest.Allow(`["s3:CreateBucket","s3:ListBucket"]`, "*", ""))
	list := newPolicy(t, s, "list", servertest.Allow(`["s3:ListBucket","s3:DeleteBucket"]`, "*", ""))
	const aws1 = "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess"
	take := func(inline string, arns ...string) (client, *sts.AssumeRoleOutput) {
		t.Helper()
		cfg, out, err := s.Assume(t, s.Admin, arn, func(in *sts.AssumeRoleInput) {
			in.PolicyArns = managed(arns...)
			if inline != "" {
				in.Policy = &inline
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		return buckets(t, cfg), out
	}
	both, out := take(servertest.Allow(`"s3:CreateBucket"`, "*", ""), list)
	if err := both.create("data"); err != nil {
		t.Errorf("allowed by the inline one: %v", err)
	}
	if err := both.list("data"); err != nil {
		t.Errorf("allowed by the managed one: %v", err)
	}
	servertest.WantRefused(t, both.delete("data"), "AccessDenied", 403, "because no identity-based policy allows the s3:DeleteBucket action")
	if out.PackedPolicySize == nil || *out.PackedPolicySize < 10 {
		t.Errorf("packed size %v", out.PackedPolicySize)
	}
	onlyAWS, small := take("", aws1)
	if err := onlyAWS.list("data"); err != nil {
		t.Errorf("allowed by AWS's: %v", err)
	}
	servertest.WantRefused(t, onlyAWS.create("more"), "AccessDenied", 403, "because no session policy allows the s3:CreateBucket action")
	if *small.PackedPolicySize < 5 || *small.PackedPolicySize >= *out.PackedPolicySize {
		t.Errorf("packed sizes %d and %d", *small.PackedPolicySize, *out.PackedPolicySize)
	}

	t.Run("the audit log names it", func(t *testing.T) {
		found := false
		for _, e := range s.Audit() {
			found = found || e["operation"] == "s3:CreateBucket" && strings.Contains(fmt.Sprint(e["reason"]), `"AmazonS3ReadOnlyAccess", statement 1`)
		}
		if !found {
			t.Error("no entry says which managed policy came closest")
		}
	})
	t.Run("a web identity", func(t *testing.T) {
		signer, _ := provideTokens(t)
		provider := provide(t, s, signer.Issuer(), "app")
		ci := s.MakeRole("ci", servertest.Trust(`{"Federated":"`+provider+`"}`, `"sts:AssumeRoleWithWebIdentity"`, ""), servertest.AllowAll)
		raw := signed(t, signer, nil)
		cfg, out, err := exchange(t, s, ci, raw, func(in *sts.AssumeRoleWithWebIdentityInput) { in.PolicyArns = managed(list) })
		if err != nil || out.PackedPolicySize == nil {
			t.Fatalf("%+v %v", out, err)
		}
		if err := buckets(t, cfg).list("data"); err != nil {
			t.Error(err)
		}
		servertest.WantRefused(t, buckets(t, cfg).create("more"), "AccessDenied", 403, "because no session policy allows the s3:CreateBucket action")
	})
	t.Run("changed and gone", func(t *testing.T) {
		admin := iam.NewFromConfig(s.Admin)
		_, err := admin.CreatePolicyVersion(t.Context(), &iam.CreatePolicyVersionInput{
			PolicyArn: &list, PolicyDocument: aws.String(servertest.Allow(`"s3:GetObject"`, "*", "")), SetAsDefault: true,
		})
		if err != nil {
			t.Fatal(err)
		}
		servertest.WantRefused(t, both.list("data"), "AccessDenied", 403, "because no session policy allows the s3:ListBucket action")
		if _, err := admin.DeletePolicyVersion(t.Context(), &iam.DeletePolicyVersionInput{PolicyArn: &list, VersionId: aws.String("v1")}); err != nil {
			t.Fatal(err)
		}
		if _, err := admin.DeletePolicy(t.Context(), &iam.DeletePolicyInput{PolicyArn: &list}); err != nil {
			t.Fatal(err)
		}
		servertest.WantRefused(t, both.create("more"), "AccessDenied", 403, "with an explicit deny in a session policy") // also what the inline one allows
	})
}

func TestManagedSessionPoliciesInput(t *testing.T) {
	s := servertest.New(t, nil)
	arn := s.MakeRole("web", servertest.TrustAdmin, "")
	var many, long []string
	for i := range 11 {
		many = append(many, fmt.Sprintf("arn:aws:iam::111122223333:policy/policy-%d", i))
		long = append(long, "arn:aws:iam::111122223333:policy/"+strings.Repeat("p", 300)+"/x")
	}
	for name, tt := range map[string]struct {
		arns   []string
		policy string
		want   string
	}{
		"eleven":                  {many, "", "'policyArns'"},
		"too long together":       {long[:7], "", "at most 2048 are allowed"},
		"too long with the text":  {many[:10], servertest.Allow(`"s3:*"`, strings.Repeat("r", 1600), ""), "at most 2048 are allowed"},
		"short":                   {[]string{"policy"}, "", "'policyArns.member.arn'"},
		"of a role":               {[]string{arn}, "", "is invalid"},
		"absent":                  {many[:1], "", "does not exist"},
		"absent one of AWS":       {[]string{"arn:aws:iam::aws:policy/Absent"}, "", "does not exist"},
		"of another account":      {[]string{"arn:aws:iam::444455556666:policy/list"}, "", "is not of the account 111122223333"},
		"of another path":         {[]string{"arn:aws:iam::aws:policy/x/AdministratorAccess"}, "", "does not exist"},
		"one good and one absent": {[]string{"arn:aws:iam::aws:policy/AdministratorAccess", many[0]}, "", "does not exist"},
	} {
		t.Run(name, func(t *testing.T) {
			change := func(in *sts.AssumeRoleInput) {
				if in.PolicyArns = managed(tt.arns...); tt.policy != "" {
					in.Policy = &tt.policy
				}
			}
			_, _, err := s.Assume(t, s.Admin, arn, change)
			servertest.WantRefused(t, err, "ValidationError", 400, tt.want)
			if !strings.Contains(tt.want, "exist") {
				return
			}
			// Who may not assume the role does not learn which policies there are.
			_, _, err = s.Assume(t, s.Admin, servertest.RoleARN("absent"), change)
			servertest.WantRefused(t, err, "AccessDenied", 403)
		})
	}
}
