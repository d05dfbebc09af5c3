package iam_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/google/go-cmp/cmp"

	"github.com/podid/podid/internal/server/servertest"
)

// newKey makes an access key of a user, which must succeed, and returns its id and a configuration with it.
func newKey(t *testing.T, s *servertest.Server, user string) (string, aws.Config) {
	t.Helper()
	out, err := iam.NewFromConfig(s.Admin).CreateAccessKey(t.Context(), &iam.CreateAccessKeyInput{UserName: &user})
	if err != nil {
		t.Fatal(err)
	}
	key := out.AccessKey
	if *key.UserName != user || key.Status != types.StatusTypeActive || !strings.HasPrefix(*key.AccessKeyId, "AKIA") || len(*key.SecretAccessKey) != 40 {
		t.Errorf("key %+v", key)
	}
	return *key.AccessKeyId, s.As(aws.Credentials{AccessKeyID: *key.AccessKeyId, SecretAccessKey: *key.SecretAccessKey})
}

func TestUser(t *testing.T) {
	s := servertest.New(t, nil)
	client := iam.NewFromConfig(s.Admin)
	created, err := client.CreateUser(t.Context(), &iam.CreateUserInput{
		UserName: aws.String("Ann"), Path: aws.String("/team/"), Tags: []types.Tag{{Key: aws.String("team"), Value: aws.String("a")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if u := created.User; *u.Arn != "arn:aws:iam::111122223333:user/team/Ann" || !strings.HasPrefix(*u.UserId, "AIDA") || u.CreateDate == nil || len(u.Tags) != 1 {
		t.Errorf("created %+v", u)
	}
	_, err = client.CreateUser(t.Context(), &iam.CreateUserInput{UserName: aws.String("ANN")})
	servertest.WantRefused(t, err, "EntityAlreadyExists", 409, "ANN")

	t.Run("get", func(t *testing.T) {
		out, err := client.GetUser(t.Context(), &iam.GetUserInput{UserName: aws.String("ann")})
		if err != nil || *out.User.UserName != "Ann" || *out.User.Path != "/team/" || len(out.User.Tags) != 1 {
			t.Errorf("got %+v, %v", out, err)
		}
		if own, err := client.GetUser(t.Context(), nil); err != nil || *own.User.Arn != servertest.AdminARN {
			t.Errorf("the caller: %+v, %v", own, err)
		}
		session := iam.NewFromConfig(s.Limited("somebody", servertest.AllowAll))
		_, err = session.GetUser(t.Context(), nil)
		servertest.WantRefused(t, err, "ValidationError", 400, "Must specify userName when calling with non-User credentials")
	})
	t.Run("list", func(t *testing.T) {
		list := func(in iam.ListUsersInput) (names []string) {
			pages := iam.NewListUsersPaginator(client, &in)
			for pages.HasMorePages() {
				out, err := pages.NextPage(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				for _, u := range out.Users {
					names = append(names, *u.UserName)
				}
			}
			return names
		}
		if got := list(iam.ListUsersInput{MaxItems: aws.Int32(1)}); !slices.Equal(got, []string{"admin", "Ann"}) {
			t.Errorf("users %q", got)
		}
		if got := list(iam.ListUsersInput{PathPrefix: aws.String("/team")}); !slices.Equal(got, []string{"Ann"}) {
			t.Errorf("users of the team %q", got)
		}
	})
	t.Run("tags", func(t *testing.T) {
		tag := func(key, value string) error {
			_, err := client.TagUser(t.Context(), &iam.TagUserInput{UserName: aws.String("Ann"), Tags: []types.Tag{{Key: &key, Value: &value}}})
			return err
		}
		if err := tag("TEAM", "b"); err != nil {
			t.Fatal(err)
		}
		servertest.WantRefused(t, tag("aws:x", ""), "InvalidInput", 400, "aws:x")
		out, err := client.ListUserTags(t.Context(), &iam.ListUserTagsInput{UserName: aws.String("Ann")})
		if err != nil || len(out.Tags) != 1 || *out.Tags[0].Value != "b" {
			t.Errorf("tags %+v, %v", out, err)
		}
		if _, err := client.UntagUser(t.Context(), &iam.UntagUserInput{UserName: aws.String("Ann"), TagKeys: []string{"team", "none"}}); err != nil {
			t.Fatal(err)
		}
		if out, err := client.ListUserTags(t.Context(), &iam.ListUserTagsInput{UserName: aws.String("Ann")}); err != nil || len(out.Tags) != 0 {
			t.Errorf("tags %+v, %v", out, err)
		}
	})
	t.Run("no groups", func(t *testing.T) {
		if out, err := client.ListGroupsForUser(t.Context(), &iam.ListGroupsForUserInput{UserName: aws.String("Ann")}); err != nil || len(out.Groups) != 0 {
			t.Errorf("groups %+v, %v", out, err)
		}
		_, err := client.ListGroupsForUser(t.Context(), &iam.ListGroupsForUserInput{UserName: aws.String("nobody")})
		servertest.WantRefused(t, err, "NoSuchEntity", 404, "The user with name nobody cannot be found.")
	})
	t.Run("bad input", func(t *testing.T) {
		for _, in := range []iam.CreateUserInput{
			{UserName: aws.String("")}, {UserName: aws.String(strings.Repeat("n", 65))}, {UserName: aws.String("x"), Path: aws.String("team")},
		} {
			_, err := client.CreateUser(t.Context(), &in)
			servertest.WantRefused(t, err, "ValidationError", 400)
		}
	})
}

// A user does what its policies allow, with the keys it has.
func TestUserPolicy(t *testing.T) {
	s := servertest.New(t, nil)
	admin := iam.NewFromConfig(s.Admin)
	user := aws.String("Ann")
	if _, err := admin.CreateUser(t.Context(), &iam.CreateUserInput{UserName: user}); err != nil {
		t.Fatal(err)
	}
	_, cfg := newKey(t, s, "Ann")
	ann := iam.NewFromConfig(cfg)
	_, err := ann.ListRoles(t.Context(), nil)
	servertest.WantRefused(t, err, "AccessDenied", 403, "User: arn:aws:iam::111122223333:user/Ann is not authorized to perform: iam:ListRoles")
	put := func(name, text string) error {
		_, err := admin.PutUserPolicy(t.Context(), &iam.PutUserPolicyInput{UserName: user, PolicyName: &name, PolicyDocument: &text})
		return err
	}
	if err := put("list", servertest.Allow(`"iam:List*"`, "*", "")); err != nil {
		t.Fatal(err)
	}
	if _, err := ann.ListRoles(t.Context(), nil); err != nil {
		t.Errorf("what the policy allows: %v", err)
	}
	servertest.WantRefused(t, put("bad", "{"), "MalformedPolicyDocument", 400, "line 1")
	servertest.WantRefused(t, put("large", servertest.Allow(`"s3:*"`, "arn:aws:s3:::"+strings.Repeat("x", 2000), "")), "LimitExceeded", 409, "2048")
	got, err := admin.GetUserPolicy(t.Context(), &iam.GetUserPolicyInput{UserName: user, PolicyName: aws.String("list")})
	if err != nil || document(t, got.PolicyDocument) != servertest.Allow(`"iam:List*"`, "*", "") {
		t.Errorf("got %+v, %v", got, err)
	}
	if out, err := admin.ListUserPolicies(t.Context(), &iam.ListUserPoliciesInput{UserName: user}); err != nil || !cmp.Equal(out.PolicyNames, []string{"list"}) {
		t.Errorf("listed %+v, %v", out, err)
	}
	if _, err := admin.DeleteUserPolicy(t.Context(), &iam.DeleteUserPolicyInput{UserName: user, PolicyName: aws.String("list")}); err != nil {
		t.Fatal(err)
	}
	_, err = admin.GetUserPolicy(t.Context(), &iam.GetUserPolicyInput{UserName: user, PolicyName: aws.String("list")})
	servertest.WantRefused(t, err, "NoSuchEntity", 404, "The user policy with name list cannot be found.")
	_, err = ann.ListRoles(t.Context(), nil)
	servertest.WantRefused(t, err, "AccessDenied", 403)
}

func TestAccessKey(t *testing.T) {
	s := servertest.New(t, nil)
	client := iam.NewFromConfig(s.Admin)
	for _, name := range []string{"Ann", "Bob"} {
		if _, err := client.CreateUser(t.Context(), &iam.CreateUserInput{UserName: &name}); err != nil {
			t.Fatal(err)
		}
	}
	first, cfg := newKey(t, s, "Ann")
	second, _ := newKey(t, s, "Ann")
	_, err := client.CreateAccessKey(t.Context(), &iam.CreateAccessKeyInput{UserName: aws.String("Ann")})
	servertest.WantRefused(t, err, "LimitExceeded", 409, "Cannot exceed quota for AccessKeysPerUser: 2")
	calls := func() error {
		_, err := sts.NewFromConfig(cfg).GetCallerIdentity(t.Context(), nil)
		return err
	}
	lastUsed := func() *iam.GetAccessKeyLastUsedOutput {
		out, err := client.GetAccessKeyLastUsed(t.Context(), &iam.GetAccessKeyLastUsedInput{AccessKeyId: &first})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	if out := lastUsed(); *out.UserName != "Ann" || out.AccessKeyLastUsed.LastUsedDate != nil || *out.AccessKeyLastUsed.ServiceName != "N/A" {
		t.Errorf("before its use: %+v", out.AccessKeyLastUsed)
	}
	if err := calls(); err != nil {
		t.Fatal(err)
	}
	if out := lastUsed().AccessKeyLastUsed; out.LastUsedDate == nil || *out.ServiceName != "sts" || *out.Region != servertest.Region {
		t.Errorf("after its use: %+v", out)
	}
	list := func() []string {
		out, err := client.ListAccessKeys(t.Context(), &iam.ListAccessKeysInput{UserName: aws.String("ann")})
		if err != nil {
			t.Fatal(err)
		}
		var keys []string
		for _, key := range out.AccessKeyMetadata {
			keys = append(keys, *key.AccessKeyId+" "+string(key.Status)+" "+*key.UserName)
		}
		slices.Sort(keys)
		return keys
	}
	set := func(user, id, status string) error {
		_, err := client.UpdateAccessKey(t.Context(), &iam.UpdateAccessKeyInput{UserName: &user, AccessKeyId: &id, Status: types.StatusType(status)})
		return err
	}
	if err := set("Ann", first, "Inactive"); err != nil {
		t.Fatal(err)
	}
	servertest.WantRefused(t, calls(), "InvalidClientTokenId", 403)
	want := []string{first + " Inactive Ann", second + " Active Ann"}
	slices.Sort(want)
	if diff := cmp.Diff(want, list()); diff != "" {
		t.Error(diff)
	}
	servertest.WantRefused(t, set("Bob", first, "Active"), "NoSuchEntity", 404, "The Access Key with id "+first+" cannot be found.")
	servertest.WantRefused(t, set("Ann", first, "Expired"), "ValidationError", 400, "'status'")
	if err := set("Ann", first, "Active"); err != nil || calls() != nil {
		t.Errorf("active again: %v", err)
	}
	_, err = client.DeleteUser(t.Context(), &iam.DeleteUserInput{UserName: aws.String("Ann")})
	servertest.WantRefused(t, err, "DeleteConflict", 409, "must delete access keys first")

	t.Run("the user is renamed", func(t *testing.T) {
		_, err := client.UpdateUser(t.Context(), &iam.UpdateUserInput{UserName: aws.String("Ann"), NewUserName: aws.String("bob")})
		servertest.WantRefused(t, err, "EntityAlreadyExists", 409, "bob")
		for _, name := range []string{"Anna", "ANNA"} { // another key in the store, and the same one
			if _, err := client.UpdateUser(t.Context(), &iam.UpdateUserInput{UserName: aws.String("Ann"), NewUserName: &name, NewPath: aws.String("/x/")}); err == nil && name == "ANNA" {
				t.Error("the old name is still there")
			}
		}
		if _, err := client.UpdateUser(t.Context(), &iam.UpdateUserInput{UserName: aws.String("anna"), NewUserName: aws.String("ANNA")}); err != nil {
			t.Fatal(err)
		}
		who, err := sts.NewFromConfig(cfg).GetCallerIdentity(t.Context(), nil)
		if err != nil || *who.Arn != "arn:aws:iam::111122223333:user/x/ANNA" {
			t.Errorf("the key is %+v, %v", who, err)
		}
		if _, err := client.UpdateUser(t.Context(), &iam.UpdateUserInput{UserName: aws.String("anna"), NewUserName: aws.String("Ann"), NewPath: aws.String("/")}); err != nil {
			t.Fatal(err)
		}
	})
	for _, id := range []string{first, second} {
		_, err := client.DeleteAccessKey(t.Context(), &iam.DeleteAccessKeyInput{UserName: aws.String("Bob"), AccessKeyId: &id})
		servertest.WantRefused(t, err, "NoSuchEntity", 404, id)
		if _, err := client.DeleteAccessKey(t.Context(), &iam.DeleteAccessKeyInput{UserName: aws.String("Ann"), AccessKeyId: &id}); err != nil {
			t.Fatal(err)
		}
	}
	servertest.WantRefused(t, calls(), "InvalidClientTokenId", 403)
	if got := list(); len(got) > 0 {
		t.Errorf("keys %q", got)
	}
	if _, err := client.DeleteUser(t.Context(), &iam.DeleteUserInput{UserName: aws.String("Ann")}); err != nil {
		t.Error(err)
	}

	t.Run("many at once", func(t *testing.T) {
		var all sync.WaitGroup
		made := make([]error, 8)
		for i := range made {
			all.Go(func() {
				_, made[i] = client.CreateAccessKey(t.Context(), &iam.CreateAccessKeyInput{UserName: aws.String("Bob")})
			})
		}
		all.Wait()
		if n := len(slices.DeleteFunc(made, func(err error) bool { return err != nil })); n != 2 {
			t.Errorf("%d keys were made", n)
		}
	})
	if strings.Contains(fmt.Sprint(s.Audit(), s.Log), "SecretAccessKey") {
		t.Error("a secret is in the audit trail or the log")
	}
}

// The administrator is a user like any other, and comes back when the server starts again.
func TestAdministratorLocksItselfOut(t *testing.T) {
	s := servertest.New(t, nil)
	client := iam.NewFromConfig(s.Admin)
	keys, err := client.ListAccessKeys(t.Context(), nil)
	if err != nil || len(keys.AccessKeyMetadata) != 1 || *keys.AccessKeyMetadata[0].UserName != "admin" {
		t.Fatalf("the administrator's keys: %+v, %v", keys, err)
	}
	if _, err := client.DeleteAccessKey(t.Context(), &iam.DeleteAccessKeyInput{AccessKeyId: keys.AccessKeyMetadata[0].AccessKeyId}); err != nil {
		t.Fatal(err)
	}
	_, err = client.GetUser(t.Context(), nil)
	servertest.WantRefused(t, err, "InvalidClientTokenId", 403)
	s.Stop()
	again := servertest.Open(t, s.DataDir, nil)
	if out, err := iam.NewFromConfig(again.Admin).GetUser(t.Context(), nil); err != nil || *out.User.UserName != "admin" {
		t.Errorf("after a restart: %+v, %v", out, err)
	}
}
