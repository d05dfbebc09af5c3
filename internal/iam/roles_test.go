package iam_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/google/go-cmp/cmp"

	"github.com/podid/podid/internal/server/servertest"
)

// document decodes a policy document as IAM returns it.
func document(t *testing.T, encoded *string) string {
	t.Helper()
	text, err := url.PathUnescape(aws.ToString(encoded))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// odd is a trust policy with everything that an encoding can get wrong.
const odd = "{ \"Version\": \"2012-10-17\",\r\n\t\"Id\": \"a+b c%20~*'()/?&=é\",\n \"Statement\": [{\"Effect\":\"Allow\"," +
	"\"Principal\":{\"Service\":\"pods.eks.amazonaws.com\"},\"Action\":[\"sts:AssumeRole\",\"sts:TagSession\"]}] }\n"

func TestRole(t *testing.T) {
	s := servertest.New(t, nil)
	client := iam.NewFromConfig(s.Admin)
	created, err := client.CreateRole(t.Context(), &iam.CreateRoleInput{
		RoleName: aws.String("Web+=,.@-_1"), Path: aws.String("/team/a/"), AssumeRolePolicyDocument: aws.String(odd), Description: aws.String("says <hi> & \"bye\""),
		MaxSessionDuration: aws.Int32(7200), Tags: []types.Tag{{Key: aws.String("Team"), Value: aws.String("")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	const arn = "arn:aws:iam::111122223333:role/team/a/Web+=,.@-_1"
	if r := created.Role; *r.Arn != arn || !strings.HasPrefix(*r.RoleId, "AROA") || len(*r.RoleId) != 21 || r.CreateDate == nil || len(r.Tags) != 1 {
		t.Errorf("created %+v", r)
	}

	t.Run("get by a name of other case", func(t *testing.T) {
		out, err := client.GetRole(t.Context(), &iam.GetRoleInput{RoleName: aws.String("WEB+=,.@-_1")})
		if err != nil {
			t.Fatal(err)
		}
		r := out.Role
		got := []string{*r.Arn, *r.RoleName, *r.Path, *r.RoleId, *r.Description, document(t, r.AssumeRolePolicyDocument), fmt.Sprint(*r.MaxSessionDuration), *r.Tags[0].Key}
		want := []string{arn, "Web+=,.@-_1", "/team/a/", *created.Role.RoleId, "says <hi> & \"bye\"", odd, "7200", "Team"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("a name that differs in case only", func(t *testing.T) {
		_, err := client.CreateRole(t.Context(), &iam.CreateRoleInput{RoleName: aws.String("wEB+=,.@-_1"), AssumeRolePolicyDocument: aws.String(odd)})
		servertest.WantRefused(t, err, "EntityAlreadyExists", 409, "Role with name wEB+=,.@-_1 already exists.")
	})
	t.Run("update", func(t *testing.T) {
		if _, err := client.UpdateRole(t.Context(), &iam.UpdateRoleInput{RoleName: aws.String("web+=,.@-_1"), Description: aws.String("")}); err != nil {
			t.Fatal(err)
		}
		if _, err := client.UpdateAssumeRolePolicy(t.Context(), &iam.UpdateAssumeRolePolicyInput{RoleName: aws.String("web+=,.@-_1"), PolicyDocument: aws.String(servertest.PodTrust)}); err != nil {
			t.Fatal(err)
		}
		out, err := client.GetRole(t.Context(), &iam.GetRoleInput{RoleName: aws.String("web+=,.@-_1")})
		if err != nil {
			t.Fatal(err)
		}
		if r := out.Role; aws.ToString(r.Description) != "" || *r.MaxSessionDuration != 7200 || document(t, r.AssumeRolePolicyDocument) != servertest.PodTrust {
			t.Errorf("the description must be gone and the duration have stayed: %+v", r)
		}
	})
	t.Run("delete", func(t *testing.T) {
		if _, err := client.DeleteRole(t.Context(), &iam.DeleteRoleInput{RoleName: aws.String("WEB+=,.@-_1")}); err != nil {
			t.Fatal(err)
		}
		_, err := client.GetRole(t.Context(), &iam.GetRoleInput{RoleName: aws.String("Web+=,.@-_1")})
		servertest.WantRefused(t, err, "NoSuchEntity", 404, "The role with name Web+=,.@-_1 cannot be found.")
	})
}

// Everything that is done to a role says so where there is none.
func TestNoSuchRole(t *testing.T) {
	s := servertest.New(t, nil)
	client, ctx, name := iam.NewFromConfig(s.Admin), t.Context(), aws.String("nobody")
	for op, call := range map[string]func() error{
		"GetRole":    func() error { _, err := client.GetRole(ctx, &iam.GetRoleInput{RoleName: name}); return err },
		"DeleteRole": func() error { _, err := client.DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: name}); return err },
		"UpdateRole": func() error { _, err := client.UpdateRole(ctx, &iam.UpdateRoleInput{RoleName: name}); return err },
		"UpdateAssumeRolePolicy": func() error {
			_, err := client.UpdateAssumeRolePolicy(ctx, &iam.UpdateAssumeRolePolicyInput{RoleName: name, PolicyDocument: aws.String(servertest.PodTrust)})
			return err
		},
		"PutRolePolicy": func() error {
			_, err := client.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: name, PolicyName: name, PolicyDocument: aws.String(servertest.AllowAll)})
			return err
		},
		"GetRolePolicy": func() error {
			_, err := client.GetRolePolicy(ctx, &iam.GetRolePolicyInput{RoleName: name, PolicyName: name})
			return err
		},
		"DeleteRolePolicy": func() error {
			_, err := client.DeleteRolePolicy(ctx, &iam.DeleteRolePolicyInput{RoleName: name, PolicyName: name})
			return err
		},
		"ListRolePolicies": func() error {
			_, err := client.ListRolePolicies(ctx, &iam.ListRolePoliciesInput{RoleName: name})
			return err
		},
		"ListAttachedRolePolicies": func() error {
			_, err := client.ListAttachedRolePolicies(ctx, &iam.ListAttachedRolePoliciesInput{RoleName: name})
			return err
		},
		"ListInstanceProfilesForRole": func() error {
			_, err := client.ListInstanceProfilesForRole(ctx, &iam.ListInstanceProfilesForRoleInput{RoleName: name})
			return err
		},
		"TagRole": func() error {
			_, err := client.TagRole(ctx, &iam.TagRoleInput{RoleName: name, Tags: []types.Tag{{Key: name, Value: name}}})
			return err
		},
		"UntagRole": func() error {
			_, err := client.UntagRole(ctx, &iam.UntagRoleInput{RoleName: name, TagKeys: []string{"a"}})
			return err
		},
		"ListRoleTags": func() error { _, err := client.ListRoleTags(ctx, &iam.ListRoleTagsInput{RoleName: name}); return err },
	} {
		t.Run(op, func(t *testing.T) {
			servertest.WantRefused(t, call(), "NoSuchEntity", 404, "The role with name nobody cannot be found.")
		})
	}
}

func TestListRoles(t *testing.T) {
	s := servertest.New(t, nil)
	client := iam.NewFromConfig(s.Admin)
	create := func(name, path string) {
		t.Helper()
		_, err := client.CreateRole(t.Context(), &iam.CreateRoleInput{
			RoleName: &name, Path: &path, AssumeRolePolicyDocument: aws.String(servertest.PodTrust), Tags: []types.Tag{{Key: &name, Value: &name}}})
		if err != nil {
			t.Fatal(err)
		}
	}
	list := func(in *iam.ListRolesInput) ([]string, *iam.ListRolesOutput) {
		t.Helper()
		out, err := client.ListRoles(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		names := []string{}
		for _, r := range out.Roles {
			names = append(names, *r.RoleName)
			if r.Tags != nil {
				t.Errorf("ListRoles gave out tags of %s", *r.RoleName)
			}
		}
		return names, out
	}
	if names, out := list(&iam.ListRolesInput{}); len(names) > 0 || out.IsTruncated {
		t.Errorf("a new account has the roles %v", names)
	}
	create("d", "/")
	create("B", "/team/")
	create("a", "/team/x/")
	create("f", "/teams/")
	create("c", "/")

	names, out := list(&iam.ListRolesInput{MaxItems: aws.Int32(2)})
	if diff := cmp.Diff([]string{"a", "B"}, names); diff != "" || !out.IsTruncated {
		t.Errorf("first page, truncated %v: %s", out.IsTruncated, diff)
	}
	// Others write between the pages: what was there all the time is listed exactly once.
	create("aa", "/")
	create("e", "/")
	for _, gone := range []string{"B", "d"} {
		if _, err := client.DeleteRole(t.Context(), &iam.DeleteRoleInput{RoleName: &gone}); err != nil {
			t.Fatal(err)
		}
	}
	names, out = list(&iam.ListRolesInput{MaxItems: aws.Int32(2), Marker: out.Marker})
	if diff := cmp.Diff([]string{"c", "e"}, names); diff != "" || !out.IsTruncated {
		t.Errorf("second page, truncated %v: %s", out.IsTruncated, diff)
	}
	names, out = list(&iam.ListRolesInput{MaxItems: aws.Int32(1), Marker: out.Marker})
	if diff := cmp.Diff([]string{"f"}, names); diff != "" || out.IsTruncated || out.Marker != nil {
		t.Errorf("last page, which is exactly full, truncated %v: %s", out.IsTruncated, diff)
	}
	if names, _ = list(&iam.ListRolesInput{PathPrefix: aws.String("/team/")}); !cmp.Equal(names, []string{"a"}) {
		t.Errorf("below /team/ there are %v", names)
	}
	if names, _ = list(&iam.ListRolesInput{PathPrefix: aws.String("/team")}); !cmp.Equal(names, []string{"a", "f"}) {
		t.Errorf("below /team there are %v", names)
	}
	for name, in := range map[string]*iam.ListRolesInput{
		"no items": {MaxItems: aws.Int32(0)}, "too many items": {MaxItems: aws.Int32(1001)}, "a marker of nobody": {Marker: aws.String("%")},
		"a prefix that is no path": {PathPrefix: aws.String("team/")},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := client.ListRoles(t.Context(), in)
			servertest.WantRefused(t, err, "ValidationError", 400)
		})
	}
}

func TestRoleTags(t *testing.T) {
	s := servertest.New(t, nil)
	client, name := iam.NewFromConfig(s.Admin), aws.String("web")
	s.MakeRole("web", servertest.PodTrust, "")
	tag := func(pairs ...string) error {
		in := &iam.TagRoleInput{RoleName: name}
		for i := 0; i < len(pairs); i += 2 {
			in.Tags = append(in.Tags, types.Tag{Key: &pairs[i], Value: &pairs[i+1]})
		}
		_, err := client.TagRole(t.Context(), in)
		return err
	}
	list := func(in iam.ListRoleTagsInput) (tags []string, marker *string) {
		t.Helper()
		in.RoleName = name
		out, err := client.ListRoleTags(t.Context(), &in)
		if err != nil {
			t.Fatal(err)
		}
		for _, tag := range out.Tags {
			tags = append(tags, *tag.Key+"="+*tag.Value)
		}
		return tags, out.Marker
	}
	if err := tag("Team", "a", "cost center", "é 1"); err != nil {
		t.Fatal(err)
	}
	if err := tag("TEAM", "b"); err != nil {
		t.Fatal(err)
	}
	if tags, _ := list(iam.ListRoleTagsInput{}); !cmp.Equal(tags, []string{"TEAM=b", "cost center=é 1"}) {
		t.Errorf("tags %q", tags)
	}
	first, marker := list(iam.ListRoleTagsInput{MaxItems: aws.Int32(1)})
	second, end := list(iam.ListRoleTagsInput{MaxItems: aws.Int32(1), Marker: marker})
	if len(first) != 1 || len(second) != 1 || first[0] == second[0] || end != nil {
		t.Errorf("pages %q %q", first, second)
	}
	if _, err := client.UntagRole(t.Context(), &iam.UntagRoleInput{RoleName: name, TagKeys: []string{"team", "never there"}}); err != nil {
		t.Fatal(err)
	}
	if tags, _ := list(iam.ListRoleTagsInput{}); !cmp.Equal(tags, []string{"cost center=é 1"}) {
		t.Errorf("tags after UntagRole: %q", tags)
	}
	many := func(n int) (pairs []string) {
		for i := range n {
			pairs = append(pairs, fmt.Sprint("k", i), "")
		}
		return pairs
	}
	if err := tag(many(49)...); err != nil {
		t.Errorf("50 tags: %v", err)
	}
	servertest.WantRefused(t, tag(many(50)...), "LimitExceeded", 409, "TagsPerRole: 50")
	if tags, _ := list(iam.ListRoleTagsInput{}); len(tags) != 50 {
		t.Errorf("%d tags after a refusal, want the 50 from before", len(tags))
	}
	for what, pairs := range map[string][]string{
		"reserved prefix": {"AWS:x", ""}, "twice": {"x", "1", "X", "2"}, "character": {"a!", ""}, "long key": {strings.Repeat("k", 129), ""},
		"long value": {"k", strings.Repeat("v", 257)}, "51": many(51),
	} {
		t.Run(what, func(t *testing.T) { servertest.WantRefused(t, tag(pairs...), "InvalidInput", 400) })
	}
}
