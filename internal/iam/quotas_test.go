package iam_test

import (
	"fmt"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	iamservice "github.com/podid/podid/internal/iam"
	"github.com/podid/podid/internal/server"
	"github.com/podid/podid/internal/server/servertest"
)

func TestQuotas(t *testing.T) {
	s := servertest.New(t, func(cfg *server.Config) {
		cfg.MemberAccountIDs = []string{"444455556666"}
		cfg.IAMQuotas = iamservice.Quotas{Roles: 2, Users: 3, Groups: 4, Policies: 5, Providers: 6}
	})
	in := func(client *iam.Client, had map[string]int) {
		for kind, tt := range map[string]struct {
			quota  int
			create func(name string) error
		}{
			"Roles": {2, func(name string) error {
				_, err := client.CreateRole(t.Context(), &iam.CreateRoleInput{RoleName: &name, AssumeRolePolicyDocument: aws.String(servertest.PodTrust)})
				return err
			}},
			"Users": {3, func(name string) error {
				_, err := client.CreateUser(t.Context(), &iam.CreateUserInput{UserName: &name})
				return err
			}},
			"Groups": {4, func(name string) error {
				_, err := client.CreateGroup(t.Context(), &iam.CreateGroupInput{GroupName: &name})
				return err
			}},
			"Policies": {5, func(name string) error {
				_, err := client.CreatePolicy(t.Context(), &iam.CreatePolicyInput{PolicyName: &name, PolicyDocument: aws.String(servertest.AllowAll)})
				return err
			}},
			"OpenIdConnectProviders": {6, func(name string) error {
				_, err := client.CreateOpenIDConnectProvider(t.Context(), &iam.CreateOpenIDConnectProviderInput{Url: aws.String("https://oidc.example.com/" + name)})
				return err
			}},
		} {
			for i := had[kind]; i < tt.quota; i++ {
				if err := tt.create(fmt.Sprint("n", i)); err != nil {
					t.Errorf("%s %d: %v", kind, i, err)
				}
			}
			servertest.WantRefused(t, tt.create("more"), "LimitExceeded", 409, fmt.Sprintf("Cannot exceed quota for %sPerAccount: %d", kind, tt.quota))
			servertest.WantRefused(t, tt.create("n1"), "EntityAlreadyExists", 409)
		}
		summary, err := client.GetAccountSummary(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		for key, want := range map[string]int32{
			"Roles": 2, "RolesQuota": 2, "Users": 3, "UsersQuota": 3, "Groups": 4, "GroupsQuota": 4, "Policies": 5, "PoliciesQuota": 5, "Providers": 6,
		} {
			if got := summary.SummaryMap[key]; got != want {
				t.Errorf("%s is %d, want %d", key, got, want)
			}
		}
	}
	in(iam.NewFromConfig(s.Admin), map[string]int{"Users": 1})
	inside := s.Session(t, s.Admin, "arn:aws:iam::444455556666:role/OrganizationAccountAccessRole", nil)
	in(iam.NewFromConfig(inside), map[string]int{"Roles": 1}) // each account has its own
	if _, err := iam.NewFromConfig(inside).DeleteRole(t.Context(), &iam.DeleteRoleInput{RoleName: aws.String("n1")}); err != nil {
		t.Fatal(err)
	}
	_, err := iam.NewFromConfig(inside).CreateRole(t.Context(), &iam.CreateRoleInput{RoleName: aws.String("more"), AssumeRolePolicyDocument: aws.String(servertest.PodTrust)})
	if err != nil {
		t.Errorf("there is room again: %v", err)
	}
}

// A role is used by what its sessions do, also with the S3, and not by being assumed.
func TestRoleLastUsed(t *testing.T) {
	s := servertest.New(t, nil)
	client := iam.NewFromConfig(s.Admin)
	lastUsed := func(name string) *types.RoleLastUsed {
		t.Helper()
		out, err := client.GetRole(t.Context(), &iam.GetRoleInput{RoleName: &name})
		if err != nil {
			t.Fatal(err)
		}
		if out.Role.RoleLastUsed == nil {
			t.Fatal("GetRole has no RoleLastUsed")
		}
		details, err := client.GetAccountAuthorizationDetails(t.Context(), &iam.GetAccountAuthorizationDetailsInput{Filter: []types.EntityType{types.EntityTypeRole}})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range details.RoleDetailList {
			if used := r.RoleLastUsed; *r.RoleName == name && (used == nil || aws.ToTime(used.LastUsedDate) != aws.ToTime(out.Role.RoleLastUsed.LastUsedDate)) {
				t.Errorf("details say %+v, GetRole says %+v", used, out.Role.RoleLastUsed)
			}
		}
		list, err := client.ListRoles(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range list.Roles {
			if r.RoleLastUsed != nil {
				t.Errorf("ListRoles has RoleLastUsed of %s", *r.RoleName)
			}
		}
		return out.Role.RoleLastUsed
	}
	unused := func(name, when string) {
		t.Helper()
		if used := lastUsed(name); used.LastUsedDate != nil || used.Region != nil {
			t.Errorf("%s: %s was used at %v", when, name, used.LastUsedDate)
		}
	}
	sessions := map[string]aws.Config{}
	for _, name := range []string{"caller", "reader"} {
		s.MakeRole(name, servertest.TrustAdmin, "")
		unused(name, "made")
		sessions[name] = s.Session(t, s.Admin, servertest.RoleARN(name), nil)
		unused(name, "assumed")
	}
	if _, err := sts.NewFromConfig(sessions["caller"]).GetCallerIdentity(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	_, err := s3.NewFromConfig(sessions["reader"], func(o *s3.Options) { o.UsePathStyle = true }).ListBuckets(t.Context(), nil)
	servertest.WantRefused(t, err, "AccessDenied", 403)
	for name := range sessions {
		if used := lastUsed(name); used.LastUsedDate == nil || aws.ToString(used.Region) != servertest.Region {
			t.Errorf("%s is used: %+v", name, used)
		}
	}
	if _, err := client.DeleteRole(t.Context(), &iam.DeleteRoleInput{RoleName: aws.String("caller")}); err != nil {
		t.Fatal(err)
	}
	s.MakeRole("caller", servertest.TrustAdmin, "")
	unused("caller", "made again")
}
