package iam_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/google/go-cmp/cmp"

	"github.com/podid/podid/internal/policy"
	"github.com/podid/podid/internal/server/servertest"
)

const s3Read = "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess"

// newPolicy makes a managed policy, which must succeed, and returns its ARN.
func newPolicy(t *testing.T, client *iam.Client, name, text string) *string {
	t.Helper()
	out, err := client.CreatePolicy(t.Context(), &iam.CreatePolicyInput{PolicyName: &name, PolicyDocument: &text})
	if err != nil {
		t.Fatal(err)
	}
	return out.Policy.Arn
}

// A policy counts wherever it is attached, and a change of it at once.
func TestAttachedPolicy(t *testing.T) {
	s := servertest.New(t, nil)
	client := iam.NewFromConfig(s.Admin)
	session := iam.NewFromConfig(s.Limited("reader", ""))
	if _, err := client.CreateUser(t.Context(), &iam.CreateUserInput{UserName: aws.String("Ann")}); err != nil {
		t.Fatal(err)
	}
	_, cfg := newKey(t, s, "Ann")
	ann := iam.NewFromConfig(cfg)
	listRoles := func(c *iam.Client) error {
		_, err := c.ListRoles(t.Context(), nil)
		return err
	}
	denied := func(step string) {
		t.Helper()
		for _, c := range []*iam.Client{session, ann} {
			servertest.WantRefused(t, listRoles(c), "AccessDenied", 403)
		}
	}
	allowed := func(step string) {
		t.Helper()
		for _, c := range []*iam.Client{session, ann} {
			if err := listRoles(c); err != nil {
				t.Errorf("%s: %v", step, err)
			}
		}
	}
	denied("nothing attached")
	arn := newPolicy(t, client, "list", servertest.Allow(`"iam:ListRoles"`, "*", ""))
	attach := func(arn string) error {
		if _, err := client.AttachUserPolicy(t.Context(), &iam.AttachUserPolicyInput{UserName: aws.String("Ann"), PolicyArn: &arn}); err != nil {
			return err
		}
		_, err := client.AttachRolePolicy(t.Context(), &iam.AttachRolePolicyInput{RoleName: aws.String("reader"), PolicyArn: &arn})
		return err
	}
	for range 2 { // again changes nothing
		if err := attach(*arn); err != nil {
			t.Fatal(err)
		}
	}
	allowed("attached")
	version, err := client.CreatePolicyVersion(t.Context(), &iam.CreatePolicyVersionInput{PolicyArn: arn, PolicyDocument: aws.String(servertest.Allow(`"s3:*"`, "*", ""))})
	if err != nil || *version.PolicyVersion.VersionId != "v2" || version.PolicyVersion.IsDefaultVersion {
		t.Fatalf("version %+v, %v", version, err)
	}
	allowed("another version that does not count")
	set := func(version string) error {
		_, err := client.SetDefaultPolicyVersion(t.Context(), &iam.SetDefaultPolicyVersionInput{PolicyArn: arn, VersionId: &version})
		return err
	}
	if err := set("v2"); err != nil {
		t.Fatal(err)
	}
	denied("the other version counts")
	if err := set("v1"); err != nil {
		t.Fatal(err)
	}
	allowed("the first version counts again")
	servertest.WantRefused(t, set("v3"), "NoSuchEntity", 404, "v3")
	servertest.WantRefused(t, set("x1"), "ValidationError", 400, "'versionId'")

	t.Run("who has it", func(t *testing.T) {
		got, err := client.GetPolicy(t.Context(), &iam.GetPolicyInput{PolicyArn: arn})
		if err != nil || *got.Policy.AttachmentCount != 2 || *got.Policy.PermissionsBoundaryUsageCount != 0 || !got.Policy.IsAttachable || *got.Policy.DefaultVersionId != "v1" {
			t.Errorf("policy %+v, %v", got, err)
		}
		out, err := client.ListEntitiesForPolicy(t.Context(), &iam.ListEntitiesForPolicyInput{PolicyArn: arn})
		if err != nil || len(out.PolicyRoles) != 1 || *out.PolicyRoles[0].RoleName != "reader" || len(out.PolicyUsers) != 1 || *out.PolicyUsers[0].UserName != "Ann" {
			t.Errorf("entities %+v, %v", out, err)
		}
		out, err = client.ListEntitiesForPolicy(t.Context(), &iam.ListEntitiesForPolicyInput{PolicyArn: arn, EntityFilter: types.EntityTypeRole})
		if err != nil || len(out.PolicyRoles) != 1 || len(out.PolicyUsers) != 0 {
			t.Errorf("roles %+v, %v", out, err)
		}
		user, err := client.ListAttachedUserPolicies(t.Context(), &iam.ListAttachedUserPoliciesInput{UserName: aws.String("Ann")})
		if err != nil || len(user.AttachedPolicies) != 1 || *user.AttachedPolicies[0].PolicyArn != *arn || *user.AttachedPolicies[0].PolicyName != "list" {
			t.Errorf("of the user %+v, %v", user, err)
		}
		role, err := client.ListAttachedRolePolicies(t.Context(), &iam.ListAttachedRolePoliciesInput{RoleName: aws.String("reader"), PathPrefix: aws.String("/x/")})
		if err != nil || len(role.AttachedPolicies) != 0 {
			t.Errorf("below another path %+v, %v", role, err)
		}
	})
	t.Run("conflicts", func(t *testing.T) {
		_, err := client.DeletePolicy(t.Context(), &iam.DeletePolicyInput{PolicyArn: arn})
		servertest.WantRefused(t, err, "DeleteConflict", 409, "attached")
		_, err = client.DeleteRole(t.Context(), &iam.DeleteRoleInput{RoleName: aws.String("reader")})
		servertest.WantRefused(t, err, "DeleteConflict", 409, "Cannot delete entity, must detach all policies first.")
		for i := range 9 {
			more := newPolicy(t, client, fmt.Sprint("more", i), servertest.AllowAll)
			if _, err := client.AttachRolePolicy(t.Context(), &iam.AttachRolePolicyInput{RoleName: aws.String("reader"), PolicyArn: more}); err != nil {
				t.Fatal(err)
			}
		}
		_, err = client.AttachRolePolicy(t.Context(), &iam.AttachRolePolicyInput{RoleName: aws.String("reader"), PolicyArn: aws.String(s3Read)})
		servertest.WantRefused(t, err, "LimitExceeded", 409, "Cannot exceed quota for PoliciesPerRole: 10")
		var names []string
		pages := iam.NewListAttachedRolePoliciesPaginator(client, &iam.ListAttachedRolePoliciesInput{RoleName: aws.String("reader"), MaxItems: aws.Int32(4)})
		for pages.HasMorePages() {
			page, err := pages.NextPage(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range page.AttachedPolicies {
				names = append(names, *p.PolicyName)
			}
		}
		if len(names) != 10 || !slices.IsSorted(names) {
			t.Errorf("pages of %q", names)
		}
		for i := range 9 {
			more := aws.String("arn:aws:iam::111122223333:policy/more" + fmt.Sprint(i))
			if _, err := client.DetachRolePolicy(t.Context(), &iam.DetachRolePolicyInput{RoleName: aws.String("reader"), PolicyArn: more}); err != nil {
				t.Fatal(err)
			}
		}
	})
	if _, err := client.DetachUserPolicy(t.Context(), &iam.DetachUserPolicyInput{UserName: aws.String("Ann"), PolicyArn: arn}); err != nil {
		t.Fatal(err)
	}
	servertest.WantRefused(t, listRoles(ann), "AccessDenied", 403)
	if err := listRoles(session); err != nil {
		t.Errorf("the role has it still: %v", err)
	}
	if _, err := client.DetachRolePolicy(t.Context(), &iam.DetachRolePolicyInput{RoleName: aws.String("reader"), PolicyArn: arn}); err != nil {
		t.Fatal(err)
	}
	denied("detached")
	_, err = client.DetachRolePolicy(t.Context(), &iam.DetachRolePolicyInput{RoleName: aws.String("reader"), PolicyArn: arn})
	servertest.WantRefused(t, err, "NoSuchEntity", 404, *arn)
	for _, missing := range []string{"arn:aws:iam::111122223333:policy/none", "arn:aws:iam::aws:policy/None", "arn:aws-cn:iam::aws:policy/AmazonS3ReadOnlyAccess", "arn:aws:iam::444455556666:policy/list"} {
		servertest.WantRefused(t, attach(missing), "NoSuchEntity", 404, missing)
	}
	servertest.WantRefused(t, attach("arn:aws:iam::111122223333:role/reader"), "InvalidInput", 400, "ARN")
}

func TestManagedPolicy(t *testing.T) {
	s := servertest.New(t, nil)
	client := iam.NewFromConfig(s.Admin)
	text := " " + servertest.AllowAll + "\n"
	created, err := client.CreatePolicy(t.Context(), &iam.CreatePolicyInput{
		PolicyName: aws.String("All"), Path: aws.String("/team/"), PolicyDocument: &text, Description: aws.String("everything"),
		Tags: []types.Tag{{Key: aws.String("team"), Value: aws.String("a")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	arn := created.Policy.Arn
	if *arn != "arn:aws:iam::111122223333:policy/team/All" || !strings.HasPrefix(*created.Policy.PolicyId, "ANPA") || *created.Policy.DefaultVersionId != "v1" {
		t.Errorf("created %+v", created.Policy)
	}
	_, err = client.CreatePolicy(t.Context(), &iam.CreatePolicyInput{PolicyName: aws.String("ALL"), PolicyDocument: &text})
	servertest.WantRefused(t, err, "EntityAlreadyExists", 409, "A policy called ALL already exists. Duplicate names are not allowed.")
	got, err := client.GetPolicy(t.Context(), &iam.GetPolicyInput{PolicyArn: arn})
	if err != nil || *got.Policy.Description != "everything" || len(got.Policy.Tags) != 1 || got.Policy.UpdateDate == nil {
		t.Errorf("got %+v, %v", got, err)
	}
	version, err := client.GetPolicyVersion(t.Context(), &iam.GetPolicyVersionInput{PolicyArn: arn, VersionId: aws.String("v1")})
	if err != nil || document(t, version.PolicyVersion.Document) != text || !version.PolicyVersion.IsDefaultVersion {
		t.Errorf("version %+v, %v", version, err)
	}
	for _, wrong := range []string{"arn:aws:iam::111122223333:policy/All", "arn:aws:iam::111122223333:policy/team/ALL", "arn:aws:iam::444455556666:policy/team/All"} {
		_, err := client.GetPolicy(t.Context(), &iam.GetPolicyInput{PolicyArn: &wrong})
		servertest.WantRefused(t, err, "NoSuchEntity", 404, "Policy "+wrong+" was not found.")
		_, err = client.DeletePolicy(t.Context(), &iam.DeletePolicyInput{PolicyArn: &wrong})
		servertest.WantRefused(t, err, "NoSuchEntity", 404, wrong)
	}

	t.Run("versions", func(t *testing.T) {
		create := func() error {
			_, err := client.CreatePolicyVersion(t.Context(), &iam.CreatePolicyVersionInput{PolicyArn: arn, PolicyDocument: &text, SetAsDefault: true})
			return err
		}
		for range 4 {
			if err := create(); err != nil {
				t.Fatal(err)
			}
		}
		servertest.WantRefused(t, create(), "LimitExceeded", 409, "A managed policy can have up to 5 versions. Before you create a new version, you must delete an existing version.")
		remove := func(version string) error {
			_, err := client.DeletePolicyVersion(t.Context(), &iam.DeletePolicyVersionInput{PolicyArn: arn, VersionId: &version})
			return err
		}
		servertest.WantRefused(t, remove("v5"), "DeleteConflict", 409, "Cannot delete the default version of a policy.")
		_, err := client.DeletePolicy(t.Context(), &iam.DeletePolicyInput{PolicyArn: arn})
		servertest.WantRefused(t, err, "DeleteConflict", 409, "more than one version")
		if err := remove("v4"); err != nil {
			t.Fatal(err)
		}
		servertest.WantRefused(t, remove("v4"), "NoSuchEntity", 404, "v4")
		if err := create(); err != nil {
			t.Fatal(err)
		}
		out, err := client.ListPolicyVersions(t.Context(), &iam.ListPolicyVersionsInput{PolicyArn: arn})
		if err != nil {
			t.Fatal(err)
		}
		var ids []string
		for _, v := range out.Versions {
			ids = append(ids, fmt.Sprint(*v.VersionId, " ", v.IsDefaultVersion))
		}
		if diff := cmp.Diff([]string{"v6 true", "v5 false", "v3 false", "v2 false", "v1 false"}, ids); diff != "" {
			t.Error(diff)
		}
		for _, v := range []string{"v1", "v2", "v3", "v5"} {
			if err := remove(v); err != nil {
				t.Fatal(err)
			}
		}
	})
	t.Run("tags", func(t *testing.T) {
		if _, err := client.TagPolicy(t.Context(), &iam.TagPolicyInput{PolicyArn: arn, Tags: []types.Tag{{Key: aws.String("cost"), Value: aws.String("1")}}}); err != nil {
			t.Fatal(err)
		}
		if _, err := client.UntagPolicy(t.Context(), &iam.UntagPolicyInput{PolicyArn: arn, TagKeys: []string{"TEAM"}}); err != nil {
			t.Fatal(err)
		}
		out, err := client.ListPolicyTags(t.Context(), &iam.ListPolicyTagsInput{PolicyArn: arn})
		if err != nil || len(out.Tags) != 1 || *out.Tags[0].Key != "cost" {
			t.Errorf("tags %+v, %v", out, err)
		}
	})
	t.Run("bad input", func(t *testing.T) {
		large := servertest.Allow(`"s3:*"`, "arn:aws:s3:::"+strings.Repeat("x", 6144), "")
		for _, tt := range []struct {
			name, text, code string
			status           int
		}{
			{"x", servertest.PodTrust, "MalformedPolicyDocument", 400},
			{"x", large, "LimitExceeded", 409},
			{"a b", text, "ValidationError", 400},
		} {
			_, err := client.CreatePolicy(t.Context(), &iam.CreatePolicyInput{PolicyName: &tt.name, PolicyDocument: &tt.text})
			servertest.WantRefused(t, err, tt.code, tt.status)
		}
		_, err := client.ListPolicies(t.Context(), &iam.ListPoliciesInput{Scope: "Mine"})
		servertest.WantRefused(t, err, "ValidationError", 400, "'scope'")
	})
	t.Run("more white space than can be stored", func(t *testing.T) {
		padded := servertest.AllowAll + strings.Repeat("\n", 130000)
		wide := newPolicy(t, client, "wide", padded)
		create := func() error {
			_, err := client.CreatePolicyVersion(t.Context(), &iam.CreatePolicyVersionInput{PolicyArn: wide, PolicyDocument: &padded})
			return err
		}
		put := func(name string) error {
			_, err := client.PutUserPolicy(t.Context(), &iam.PutUserPolicyInput{UserName: aws.String("admin"), PolicyName: &name, PolicyDocument: &padded})
			return err
		}
		for _, name := range []string{"a", "b"} {
			if err := create(); err != nil {
				t.Fatal(err)
			}
			if err := put(name); err != nil {
				t.Fatal(err)
			}
		}
		if err := put("c"); err != nil {
			t.Fatal(err)
		}
		servertest.WantRefused(t, create(), "LimitExceeded", 409, "white space")
		servertest.WantRefused(t, put("d"), "LimitExceeded", 409, "white space")
	})
	if _, err := client.DeletePolicy(t.Context(), &iam.DeletePolicyInput{PolicyArn: arn}); err != nil {
		t.Fatal(err)
	}
	_, err = client.GetPolicy(t.Context(), &iam.GetPolicyInput{PolicyArn: arn})
	servertest.WantRefused(t, err, "NoSuchEntity", 404)
}

// The policies of AWS are there, parse, and cannot be changed.
func TestAWSPolicies(t *testing.T) {
	s := servertest.New(t, nil)
	client := iam.NewFromConfig(s.Admin)
	local := newPolicy(t, client, "AmazonS3FullAccess", servertest.AllowAll)
	list := func(in iam.ListPoliciesInput) (arns []string) {
		in.MaxItems = aws.Int32(3)
		pages := iam.NewListPoliciesPaginator(client, &in)
		for pages.HasMorePages() {
			page, err := pages.NextPage(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range page.Policies {
				arns = append(arns, *p.Arn)
			}
		}
		return arns
	}
	all := list(iam.ListPoliciesInput{})
	ofAWS := list(iam.ListPoliciesInput{Scope: types.PolicyScopeTypeAws})
	if len(ofAWS) != 7 || !slices.Contains(ofAWS, s3Read) || len(all) != 8 || !cmp.Equal(list(iam.ListPoliciesInput{Scope: types.PolicyScopeTypeLocal}), []string{*local}) {
		t.Errorf("listed %q and %q", all, ofAWS)
	}
	for _, arn := range ofAWS {
		p, err := client.GetPolicy(t.Context(), &iam.GetPolicyInput{PolicyArn: &arn})
		if err != nil {
			t.Fatal(err)
		}
		v, err := client.GetPolicyVersion(t.Context(), &iam.GetPolicyVersionInput{PolicyArn: &arn, VersionId: p.Policy.DefaultVersionId})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := policy.Parse(policy.Identity, document(t, v.PolicyVersion.Document)); err != nil {
			t.Errorf("%s: %v", arn, err)
		}
		_, err = client.DeletePolicy(t.Context(), &iam.DeletePolicyInput{PolicyArn: &arn})
		servertest.WantRefused(t, err, "InvalidInput", 400, arn)
	}
	if got := list(iam.ListPoliciesInput{OnlyAttached: true}); len(got) > 0 {
		t.Errorf("attached: %q", got)
	}
	admin := iam.NewFromConfig(s.Limited("admin", ""))
	if _, err := client.AttachRolePolicy(t.Context(), &iam.AttachRolePolicyInput{RoleName: aws.String("admin"), PolicyArn: aws.String("arn:aws:iam::aws:policy/AdministratorAccess")}); err != nil {
		t.Fatal(err)
	}
	if _, err := admin.ListRoles(t.Context(), nil); err != nil {
		t.Errorf("with AdministratorAccess: %v", err)
	}
	if got := list(iam.ListPoliciesInput{OnlyAttached: true}); !cmp.Equal(got, []string{"arn:aws:iam::aws:policy/AdministratorAccess"}) {
		t.Errorf("attached: %q", got)
	}
}

// A boundary limits whatever else is allowed, of roles and of users.
func TestPermissionsBoundary(t *testing.T) {
	s := servertest.New(t, nil)
	client := iam.NewFromConfig(s.Admin)
	only := newPolicy(t, client, "only-roles", servertest.Allow(`"iam:*Role*"`, "*", ""))
	session := iam.NewFromConfig(s.Limited("worker", servertest.AllowAll))
	created, err := client.CreateUser(t.Context(), &iam.CreateUserInput{UserName: aws.String("Ann"), PermissionsBoundary: only})
	if err != nil || *created.User.PermissionsBoundary.PermissionsBoundaryArn != *only || created.User.PermissionsBoundary.PermissionsBoundaryType != "PermissionsBoundaryPolicy" {
		t.Fatalf("created %+v, %v", created, err)
	}
	if _, err := client.PutUserPolicy(t.Context(), &iam.PutUserPolicyInput{UserName: aws.String("Ann"), PolicyName: aws.String("all"), PolicyDocument: aws.String(servertest.AllowAll)}); err != nil {
		t.Fatal(err)
	}
	_, cfg := newKey(t, s, "Ann")
	ann := iam.NewFromConfig(cfg)
	if _, err := client.PutRolePermissionsBoundary(t.Context(), &iam.PutRolePermissionsBoundaryInput{RoleName: aws.String("worker"), PermissionsBoundary: only}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []*iam.Client{session, ann} {
		if _, err := c.ListRoles(t.Context(), nil); err != nil {
			t.Errorf("within the boundary: %v", err)
		}
		_, err := c.ListUsers(t.Context(), nil)
		servertest.WantRefused(t, err, "AccessDenied", 403, "because no permissions boundary allows the iam:ListUsers action")
	}
	role, err := client.GetRole(t.Context(), &iam.GetRoleInput{RoleName: aws.String("worker")})
	if err != nil || *role.Role.PermissionsBoundary.PermissionsBoundaryArn != *only {
		t.Errorf("role %+v, %v", role, err)
	}
	_, err = client.DeletePolicy(t.Context(), &iam.DeletePolicyInput{PolicyArn: only})
	servertest.WantRefused(t, err, "DeleteConflict", 409)
	if got, err := client.GetPolicy(t.Context(), &iam.GetPolicyInput{PolicyArn: only}); err != nil || *got.Policy.PermissionsBoundaryUsageCount != 2 || *got.Policy.AttachmentCount != 0 {
		t.Errorf("policy %+v, %v", got, err)
	}
	if _, err := client.DeleteRolePermissionsBoundary(t.Context(), &iam.DeleteRolePermissionsBoundaryInput{RoleName: aws.String("worker")}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.DeleteUserPermissionsBoundary(t.Context(), &iam.DeleteUserPermissionsBoundaryInput{UserName: aws.String("Ann")}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []*iam.Client{session, ann} {
		if _, err := c.ListUsers(t.Context(), nil); err != nil {
			t.Errorf("the boundary is lifted: %v", err)
		}
	}
	_, err = client.PutUserPermissionsBoundary(t.Context(), &iam.PutUserPermissionsBoundaryInput{UserName: aws.String("Ann"), PermissionsBoundary: aws.String("arn:aws:iam::111122223333:policy/none")})
	servertest.WantRefused(t, err, "NoSuchEntity", 404, "policy/none")
}

// Somebody who may make roles only with a boundary, and attach only some policies, cannot do more.
func TestDelegatedAdministration(t *testing.T) {
	s := servertest.New(t, nil)
	client := iam.NewFromConfig(s.Admin)
	bounds := newPolicy(t, client, "bounds", servertest.AllowAll)
	delegate := iam.NewFromConfig(s.Limited("delegate", `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":["iam:CreateRole","iam:PutRolePolicy","iam:PutRolePermissionsBoundary"],"Resource":"*",
			"Condition":{"StringEquals":{"iam:PermissionsBoundary":"`+*bounds+`"}}},
		{"Effect":"Allow","Action":"iam:AttachRolePolicy","Resource":"*","Condition":{"ArnEquals":{"iam:PolicyARN":"`+s3Read+`"}}}]}`))
	create := func(name string, boundary *string) error {
		_, err := delegate.CreateRole(t.Context(), &iam.CreateRoleInput{RoleName: &name, AssumeRolePolicyDocument: aws.String(servertest.PodTrust), PermissionsBoundary: boundary})
		return err
	}
	put := func(role string) error {
		_, err := delegate.PutRolePolicy(t.Context(), &iam.PutRolePolicyInput{RoleName: &role, PolicyName: aws.String("p"), PolicyDocument: aws.String(servertest.AllowAll)})
		return err
	}
	attach := func(arn string) error {
		_, err := delegate.AttachRolePolicy(t.Context(), &iam.AttachRolePolicyInput{RoleName: aws.String("within"), PolicyArn: &arn})
		return err
	}
	bound := func(arn string) error {
		_, err := delegate.PutRolePermissionsBoundary(t.Context(), &iam.PutRolePermissionsBoundaryInput{RoleName: aws.String("within"), PermissionsBoundary: &arn})
		return err
	}
	s.MakeRole("free", servertest.PodTrust, "")
	for name, err := range map[string]error{
		"create within": create("within", bounds), "put within": put("within"), "attach": attach(s3Read), "bound": bound(*bounds),
	} {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, err := range map[string]error{
		"create": create("x", nil), "another boundary": create("x", aws.String(s3Read)), "put": put("free"),
		"attach": attach("arn:aws:iam::aws:policy/AdministratorAccess"), "bound": bound(s3Read),
	} {
		t.Run(name, func(t *testing.T) { servertest.WantRefused(t, err, "AccessDenied", 403) })
	}
}
