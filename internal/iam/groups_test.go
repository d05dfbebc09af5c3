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
	"github.com/google/go-cmp/cmp"

	"github.com/podid/podid/internal/server/servertest"
)

// groups makes and changes groups as the administrator, which must succeed.
type groups struct {
	t *testing.T
	*iam.Client
}

func (g groups) must(err error) {
	g.t.Helper()
	if err != nil {
		g.t.Fatal(err)
	}
}

func (g groups) create(names ...string) {
	g.t.Helper()
	for _, name := range names {
		_, err := g.CreateGroup(g.t.Context(), &iam.CreateGroupInput{GroupName: &name})
		g.must(err)
	}
}

func (g groups) users(names ...string) {
	g.t.Helper()
	for _, name := range names {
		_, err := g.CreateUser(g.t.Context(), &iam.CreateUserInput{UserName: &name})
		g.must(err)
	}
}

func (g groups) add(user, group string) error {
	_, err := g.AddUserToGroup(g.t.Context(), &iam.AddUserToGroupInput{UserName: &user, GroupName: &group})
	return err
}

func (g groups) remove(user, group string) error {
	_, err := g.RemoveUserFromGroup(g.t.Context(), &iam.RemoveUserFromGroupInput{UserName: &user, GroupName: &group})
	return err
}

func (g groups) put(group, name, text string) error {
	_, err := g.PutGroupPolicy(g.t.Context(), &iam.PutGroupPolicyInput{GroupName: &group, PolicyName: &name, PolicyDocument: &text})
	return err
}

// members returns the users of a group, read in pages of one.
func (g groups) members(group string) (names []string) {
	g.t.Helper()
	pages := iam.NewGetGroupPaginator(g.Client, &iam.GetGroupInput{GroupName: &group, MaxItems: aws.Int32(1)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(g.t.Context())
		g.must(err)
		for _, u := range page.Users {
			names = append(names, *u.UserName)
		}
	}
	return names
}

// of returns the groups of a user, read in pages of one.
func (g groups) of(user string) (names []string) {
	g.t.Helper()
	pages := iam.NewListGroupsForUserPaginator(g.Client, &iam.ListGroupsForUserInput{UserName: &user, MaxItems: aws.Int32(1)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(g.t.Context())
		g.must(err)
		for _, group := range page.Groups {
			names = append(names, *group.GroupName)
		}
	}
	return names
}

func TestGroup(t *testing.T) {
	s := servertest.New(t, nil)
	g := groups{t, iam.NewFromConfig(s.Admin)}
	created, err := g.CreateGroup(t.Context(), &iam.CreateGroupInput{GroupName: aws.String("Developers"), Path: aws.String("/team/")})
	if err != nil {
		t.Fatal(err)
	}
	if c := created.Group; *c.Arn != "arn:aws:iam::111122223333:group/team/Developers" || !strings.HasPrefix(*c.GroupId, "AGPA") || c.CreateDate == nil || *c.Path != "/team/" {
		t.Errorf("created %+v", c)
	}
	_, err = g.CreateGroup(t.Context(), &iam.CreateGroupInput{GroupName: aws.String("DEVELOPERS")})
	servertest.WantRefused(t, err, "EntityAlreadyExists", 409, "Group with name DEVELOPERS already exists.")
	g.create("admins", "testers")

	t.Run("get", func(t *testing.T) {
		out, err := g.GetGroup(t.Context(), &iam.GetGroupInput{GroupName: aws.String("developers")})
		if err != nil || !cmp.Equal(*out.Group.GroupId, *created.Group.GroupId) || len(out.Users) != 0 || out.IsTruncated {
			t.Errorf("got %+v, %v", out, err)
		}
		_, err = g.GetGroup(t.Context(), &iam.GetGroupInput{GroupName: aws.String("none")})
		servertest.WantRefused(t, err, "NoSuchEntity", 404, "The group with name none cannot be found.")
	})
	t.Run("list", func(t *testing.T) {
		list := func(in iam.ListGroupsInput) (names []string) {
			pages := iam.NewListGroupsPaginator(g.Client, &in)
			for pages.HasMorePages() {
				out, err := pages.NextPage(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				for _, group := range out.Groups {
					names = append(names, *group.GroupName)
				}
			}
			return names
		}
		if got := list(iam.ListGroupsInput{MaxItems: aws.Int32(1)}); !slices.Equal(got, []string{"admins", "Developers", "testers"}) {
			t.Errorf("groups %q", got)
		}
		if got := list(iam.ListGroupsInput{PathPrefix: aws.String("/team")}); !slices.Equal(got, []string{"Developers"}) {
			t.Errorf("groups of the team %q", got)
		}
	})
	t.Run("users", func(t *testing.T) {
		g := groups{t, g.Client}
		g.users("Ann", "bob", "cleo")
		for _, user := range []string{"Ann", "cleo", "ann", "bob"} { // again changes nothing
			g.must(g.add(user, "developers"))
		}
		g.must(g.add("ann", "ADMINS"))
		if got := g.members("Developers"); !slices.Equal(got, []string{"Ann", "bob", "cleo"}) {
			t.Errorf("users %q", got)
		}
		if got := g.of("Ann"); !slices.Equal(got, []string{"Developers", "admins"}) {
			t.Errorf("groups of Ann %q", got)
		}
		servertest.WantRefused(t, g.add("none", "admins"), "NoSuchEntity", 404, "The user with name none cannot be found.")
		servertest.WantRefused(t, g.add("Ann", "none"), "NoSuchEntity", 404, "The group with name none cannot be found.")
		servertest.WantRefused(t, g.remove("none", "admins"), "NoSuchEntity", 404, "user")
		servertest.WantRefused(t, g.remove("Ann", "none"), "NoSuchEntity", 404, "group")
		g.must(g.remove("bob", "Developers"))
		g.must(g.remove("bob", "Developers"))
		if got := g.members("Developers"); !slices.Equal(got, []string{"Ann", "cleo"}) {
			t.Errorf("users after one has left %q", got)
		}
		_, err := g.ListGroupsForUser(t.Context(), &iam.ListGroupsForUserInput{UserName: aws.String("none")})
		servertest.WantRefused(t, err, "NoSuchEntity", 404)
	})
	t.Run("rename", func(t *testing.T) {
		g := groups{t, g.Client}
		rename := func(from string, in iam.UpdateGroupInput) error {
			in.GroupName = &from
			_, err := g.UpdateGroup(t.Context(), &in)
			return err
		}
		servertest.WantRefused(t, rename("developers", iam.UpdateGroupInput{NewGroupName: aws.String("Testers")}), "EntityAlreadyExists", 409, "Testers")
		servertest.WantRefused(t, rename("none", iam.UpdateGroupInput{NewGroupName: aws.String("x")}), "NoSuchEntity", 404, "none")
		g.must(rename("developers", iam.UpdateGroupInput{NewGroupName: aws.String("DEVELOPERS")})) // only the case
		g.must(rename("Developers", iam.UpdateGroupInput{NewGroupName: aws.String("makers"), NewPath: aws.String("/")}))
		if got := g.of("cleo"); !slices.Equal(got, []string{"makers"}) {
			t.Errorf("groups of cleo %q", got)
		}
		out, err := g.GetGroup(t.Context(), &iam.GetGroupInput{GroupName: aws.String("makers")})
		if err != nil || *out.Group.GroupId != *created.Group.GroupId || *out.Group.Arn != "arn:aws:iam::111122223333:group/makers" || len(out.Users) != 2 {
			t.Errorf("renamed %+v, %v", out, err)
		}
		g.create("Developers") // the name is free
		g.must(rename("Developers", iam.UpdateGroupInput{}))
	})
	t.Run("a renamed user stays", func(t *testing.T) {
		g := groups{t, g.Client}
		_, err := g.UpdateUser(t.Context(), &iam.UpdateUserInput{UserName: aws.String("cleo"), NewUserName: aws.String("zoe")})
		g.must(err)
		if got := g.members("makers"); !slices.Equal(got, []string{"Ann", "zoe"}) {
			t.Errorf("users %q", got)
		}
	})
	t.Run("conflicts", func(t *testing.T) {
		g := groups{t, g.Client}
		remove := func(name string) error {
			_, err := g.DeleteGroup(t.Context(), &iam.DeleteGroupInput{GroupName: &name})
			return err
		}
		servertest.WantRefused(t, remove("makers"), "DeleteConflict", 409, "Cannot delete entity, must remove users from group first.")
		_, err := g.DeleteUser(t.Context(), &iam.DeleteUserInput{UserName: aws.String("zoe")})
		servertest.WantRefused(t, err, "DeleteConflict", 409, "Cannot delete entity, must remove users from group first.")
		g.must(g.put("testers", "p", servertest.AllowAll))
		servertest.WantRefused(t, remove("testers"), "DeleteConflict", 409, "must delete policies first")
		servertest.WantRefused(t, remove("none"), "NoSuchEntity", 404, "none")
		g.must(g.remove("Ann", "makers"))
		g.must(g.remove("zoe", "makers"))
		g.must(remove("Makers"))
		servertest.WantRefused(t, remove("makers"), "NoSuchEntity", 404, "makers")
		g.create("makers")
		if got := g.of("Ann"); !slices.Equal(got, []string{"admins"}) {
			t.Errorf("groups of Ann %q", got)
		}
		_, err = g.DeleteUser(t.Context(), &iam.DeleteUserInput{UserName: aws.String("zoe")})
		g.must(err)
	})
	t.Run("limits", func(t *testing.T) {
		g := groups{t, g.Client}
		for i := range 10 {
			g.create(fmt.Sprint("g", i))
			g.must(g.add("bob", fmt.Sprint("g", i)))
		}
		servertest.WantRefused(t, g.add("bob", "makers"), "LimitExceeded", 409, "Cannot exceed quota for GroupsPerUser: 10")
		g.must(g.add("bob", "g3"))
		large := servertest.Allow(`"s3:*"`, "arn:aws:s3:::"+strings.Repeat("x", 5000), "")
		g.must(g.put("g0", "large", large))
		servertest.WantRefused(t, g.put("g0", "more", servertest.AllowAll), "LimitExceeded", 409, "Maximum policy size of 5120 bytes exceeded for group g0")
	})
	t.Run("bad input", func(t *testing.T) {
		for _, in := range []iam.CreateGroupInput{
			{GroupName: aws.String("")}, {GroupName: aws.String(strings.Repeat("n", 129))}, {GroupName: aws.String("x/y")}, {GroupName: aws.String("x"), Path: aws.String("team")},
		} {
			_, err := g.CreateGroup(t.Context(), &in)
			servertest.WantRefused(t, err, "ValidationError", 400)
		}
		servertest.WantRefused(t, g.put("makers", "p", "{"), "MalformedPolicyDocument", 400, "line 1")
	})
}

// The policies of a group count for its users at once, and no longer than they are in it.
func TestGroupPolicy(t *testing.T) {
	s := servertest.New(t, nil)
	g := groups{t, iam.NewFromConfig(s.Admin)}
	g.users("Ann")
	g.create("readers", "barred")
	_, cfg := newKey(t, s, "Ann")
	ann := iam.NewFromConfig(cfg)
	list := func() error {
		_, err := ann.ListRoles(t.Context(), nil)
		return err
	}
	group := aws.String("readers")
	text := servertest.Allow(`"iam:ListRoles"`, "*", "")
	g.must(g.put("readers", "list", text))
	servertest.WantRefused(t, list(), "AccessDenied", 403)
	g.must(g.add("Ann", "readers"))
	g.must(list())
	if last := s.Audit()[len(s.Audit())-1]; !strings.Contains(fmt.Sprint(last), "ListRoles") {
		t.Errorf("the audit log ends with %v", last)
	}

	t.Run("inline", func(t *testing.T) {
		g := groups{t, g.Client}
		got, err := g.GetGroupPolicy(t.Context(), &iam.GetGroupPolicyInput{GroupName: group, PolicyName: aws.String("list")})
		if err != nil || document(t, got.PolicyDocument) != text || *got.GroupName != "readers" {
			t.Errorf("got %+v, %v", got, err)
		}
		names, err := g.ListGroupPolicies(t.Context(), &iam.ListGroupPoliciesInput{GroupName: group})
		if err != nil || !slices.Equal(names.PolicyNames, []string{"list"}) {
			t.Errorf("names %+v, %v", names, err)
		}
		remove := func() error {
			_, err := g.DeleteGroupPolicy(t.Context(), &iam.DeleteGroupPolicyInput{GroupName: group, PolicyName: aws.String("list")})
			return err
		}
		g.must(remove())
		servertest.WantRefused(t, list(), "AccessDenied", 403)
		servertest.WantRefused(t, remove(), "NoSuchEntity", 404, "The group policy with name list cannot be found.")
		_, err = g.GetGroupPolicy(t.Context(), &iam.GetGroupPolicyInput{GroupName: group, PolicyName: aws.String("list")})
		servertest.WantRefused(t, err, "NoSuchEntity", 404, "The group policy with name list cannot be found.")
	})
	t.Run("attached", func(t *testing.T) {
		g := groups{t, g.Client}
		arn := newPolicy(t, g.Client, "roles", text)
		for range 2 {
			_, err := g.AttachGroupPolicy(t.Context(), &iam.AttachGroupPolicyInput{GroupName: group, PolicyArn: arn})
			g.must(err)
		}
		g.must(list())
		attached, err := g.ListAttachedGroupPolicies(t.Context(), &iam.ListAttachedGroupPoliciesInput{GroupName: group})
		if err != nil || len(attached.AttachedPolicies) != 1 || *attached.AttachedPolicies[0].PolicyArn != *arn {
			t.Errorf("attached %+v, %v", attached, err)
		}
		got, err := g.GetPolicy(t.Context(), &iam.GetPolicyInput{PolicyArn: arn})
		if err != nil || *got.Policy.AttachmentCount != 1 {
			t.Errorf("policy %+v, %v", got, err)
		}
		for _, filter := range []types.EntityType{"", types.EntityTypeGroup} {
			out, err := g.ListEntitiesForPolicy(t.Context(), &iam.ListEntitiesForPolicyInput{PolicyArn: arn, EntityFilter: filter})
			if err != nil || len(out.PolicyGroups) != 1 || *out.PolicyGroups[0].GroupName != "readers" || !strings.HasPrefix(*out.PolicyGroups[0].GroupId, "AGPA") || len(out.PolicyUsers) != 0 {
				t.Errorf("entities %+v, %v", out, err)
			}
		}
		_, err = g.DeletePolicy(t.Context(), &iam.DeletePolicyInput{PolicyArn: arn})
		servertest.WantRefused(t, err, "DeleteConflict", 409, "Cannot delete a policy attached to entities.")
		for i := range 9 {
			_, err := g.AttachGroupPolicy(t.Context(), &iam.AttachGroupPolicyInput{GroupName: group, PolicyArn: newPolicy(t, g.Client, fmt.Sprint("p", i), text)})
			g.must(err)
		}
		_, err = g.AttachGroupPolicy(t.Context(), &iam.AttachGroupPolicyInput{GroupName: group, PolicyArn: aws.String(s3Read)})
		servertest.WantRefused(t, err, "LimitExceeded", 409, "Cannot exceed quota for PoliciesPerGroup: 10")
		_, err = g.AttachGroupPolicy(t.Context(), &iam.AttachGroupPolicyInput{GroupName: group, PolicyArn: aws.String("arn:aws:iam::111122223333:policy/none")})
		servertest.WantRefused(t, err, "NoSuchEntity", 404, "policy/none")
		detach := func(arn *string) error {
			_, err := g.DetachGroupPolicy(t.Context(), &iam.DetachGroupPolicyInput{GroupName: group, PolicyArn: arn})
			return err
		}
		servertest.WantRefused(t, detach(aws.String(s3Read)), "NoSuchEntity", 404, s3Read)
		for i := range 9 {
			g.must(detach(aws.String(fmt.Sprint("arn:aws:iam::111122223333:policy/p", i))))
		}
		_, err = g.DeleteGroup(t.Context(), &iam.DeleteGroupInput{GroupName: group})
		servertest.WantRefused(t, err, "DeleteConflict", 409)
	})
	t.Run("a denial of one group", func(t *testing.T) {
		g := groups{t, g.Client}
		g.must(g.put("barred", "bar", strings.Replace(servertest.Allow(`"iam:*"`, "*", ""), "Allow", "Deny", 1)))
		g.must(list())
		g.must(g.add("Ann", "barred"))
		servertest.WantRefused(t, list(), "AccessDenied", 403, "with an explicit deny in an identity-based policy")
		var why string
		for _, entry := range s.Audit() {
			if text := fmt.Sprint(entry); strings.Contains(text, "user/Ann") {
				why = text
			}
		}
		if !strings.Contains(why, `"bar" of group "barred", statement 1`) {
			t.Errorf("the audit log does not name the group's policy: %s", why)
		}
		g.must(g.remove("Ann", "barred"))
		g.must(list())
	})
	t.Run("simulation", func(t *testing.T) {
		g := groups{t, g.Client}
		g.must(g.put("readers", "tags", servertest.Allow(`"iam:TagRole"`, "*", `{"StringEquals":{"aws:RequestTag/a":"b"}}`)))
		for source, want := range map[string]string{"user/Ann": "allowed", "group/readers": "allowed", "group/barred": "explicitDeny", "user/admin": "allowed"} {
			out, err := g.SimulatePrincipalPolicy(t.Context(), &iam.SimulatePrincipalPolicyInput{
				PolicySourceArn: aws.String("arn:aws:iam::111122223333:" + source), ActionNames: []string{"iam:ListRoles"},
			})
			if err != nil || string(out.EvaluationResults[0].EvalDecision) != want {
				t.Errorf("%s: %+v, %v, want %s", source, out, err, want)
				continue
			}
			m := out.EvaluationResults[0].MatchedStatements[0]
			if want := map[string]string{"user/Ann": "roles user-managed", "group/readers": "roles user-managed", "group/barred": "bar group", "user/admin": "AdministratorAccess user"}[source]; *m.SourcePolicyId+" "+string(m.SourcePolicyType) != want {
				t.Errorf("%s is decided by %s %s, want %s", source, *m.SourcePolicyId, m.SourcePolicyType, want)
			}
		}
		_, err := g.SimulatePrincipalPolicy(t.Context(), &iam.SimulatePrincipalPolicyInput{
			PolicySourceArn: aws.String("arn:aws:iam::111122223333:group/none"), ActionNames: []string{"iam:ListRoles"},
		})
		servertest.WantRefused(t, err, "NoSuchEntity", 404, "group/none")
		for _, source := range []string{"user/Ann", "group/readers"} {
			keys, err := g.GetContextKeysForPrincipalPolicy(t.Context(), &iam.GetContextKeysForPrincipalPolicyInput{PolicySourceArn: aws.String("arn:aws:iam::111122223333:" + source)})
			if err != nil || !slices.Equal(keys.ContextKeyNames, []string{"aws:RequestTag/a"}) {
				t.Errorf("keys of %s %+v, %v", source, keys, err)
			}
		}
	})
	t.Run("account", func(t *testing.T) {
		out, err := g.GetAccountAuthorizationDetails(t.Context(), &iam.GetAccountAuthorizationDetailsInput{Filter: []types.EntityType{types.EntityTypeGroup, types.EntityTypeUser}})
		if err != nil || len(out.GroupDetailList) != 2 || len(out.RoleDetailList) != 0 {
			t.Fatalf("details %+v, %v", out, err)
		}
		if d := out.GroupDetailList[1]; *d.GroupName != "readers" || len(d.GroupPolicyList) != 1 || len(d.AttachedManagedPolicies) != 1 || d.Arn == nil {
			t.Errorf("group %+v", d)
		}
		for _, u := range out.UserDetailList {
			if *u.UserName == "Ann" && !slices.Equal(u.GroupList, []string{"readers"}) {
				t.Errorf("user %+v", u)
			}
		}
		summary, err := g.GetAccountSummary(t.Context(), nil)
		if err != nil || summary.SummaryMap["Groups"] != 2 || summary.SummaryMap["GroupPolicySizeQuota"] != 5120 || summary.SummaryMap["GroupsPerUserQuota"] != 10 {
			t.Errorf("summary %+v, %v", summary, err)
		}
	})
	t.Run("after a restart", func(t *testing.T) {
		s.Stop()
		again := servertest.Open(t, s.DataDir, nil)
		credentials, _ := cfg.Credentials.Retrieve(t.Context())
		if _, err := iam.NewFromConfig(again.As(credentials)).ListRoles(t.Context(), nil); err != nil {
			t.Error(err)
		}
	})
}

// While a group is being deleted, users join and leave it: no user is left in a group that is gone, and none is locked out by one.
func TestDeleteGroupWhileUsersJoin(t *testing.T) {
	s := servertest.New(t, nil)
	g := groups{t, iam.NewFromConfig(s.Admin)}
	g.users("Ann", "bob")
	for round := range 5 {
		g.create("g")
		var wg sync.WaitGroup
		for _, user := range []string{"Ann", "bob"} {
			wg.Go(func() {
				for range 5 {
					_, _ = g.add(user, "g"), g.remove(user, "g")
				}
				_ = g.add(user, "g")
			})
		}
		deleted := make(chan error, 1)
		go func() {
			var err error
			for range 20 {
				if _, err = g.DeleteGroup(t.Context(), &iam.DeleteGroupInput{GroupName: aws.String("g")}); err == nil {
					break
				}
			}
			deleted <- err
		}()
		wg.Wait()
		gone := <-deleted == nil
		for _, user := range []string{"Ann", "bob"} {
			if got := g.of(user); gone == (len(got) > 0) {
				t.Errorf("round %d: the group is gone: %t, and %s is in %q", round, gone, user, got)
			}
			if !gone {
				g.must(g.remove(user, "g"))
			}
		}
		if !gone {
			_, err := g.DeleteGroup(t.Context(), &iam.DeleteGroupInput{GroupName: aws.String("g")})
			g.must(err)
		}
	}
}

func TestGroupAccess(t *testing.T) {
	s := servertest.New(t, nil)
	g := groups{t, iam.NewFromConfig(s.Admin)}
	g.users("Ann")
	for name, path := range map[string]string{"a": "/team/", "b": "/"} {
		_, err := g.CreateGroup(t.Context(), &iam.CreateGroupInput{GroupName: &name, Path: &path})
		g.must(err)
	}
	team := groups{t, iam.NewFromConfig(s.Limited("team", `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":"iam:*Group*","Resource":"arn:aws:iam::111122223333:group/team/*"},
		{"Effect":"Deny","Action":"iam:AttachGroupPolicy","Resource":"*","Condition":{"ArnEquals":{"iam:PolicyARN":"arn:aws:iam::aws:policy/AdministratorAccess"}}}]}`))}
	g.must(team.add("Ann", "a"))
	servertest.WantRefused(t, team.add("Ann", "b"), "AccessDenied", 403, "iam:AddUserToGroup on resource: arn:aws:iam::111122223333:group/b because")
	servertest.WantRefused(t, team.add("Ann", "none"), "AccessDenied", 403, "arn:aws:iam::111122223333:group/none")
	_, err := team.ListGroups(t.Context(), nil)
	servertest.WantRefused(t, err, "AccessDenied", 403, "iam:ListGroups on resource: arn:aws:iam::111122223333:group/ because")
	_, err = team.UpdateGroup(t.Context(), &iam.UpdateGroupInput{GroupName: aws.String("a"), NewPath: aws.String("/")})
	servertest.WantRefused(t, err, "AccessDenied", 403, "arn:aws:iam::111122223333:group/a")
	_, err = team.AttachGroupPolicy(t.Context(), &iam.AttachGroupPolicyInput{GroupName: aws.String("a"), PolicyArn: aws.String("arn:aws:iam::aws:policy/AdministratorAccess")})
	servertest.WantRefused(t, err, "AccessDenied", 403, "explicit deny")
	_, err = team.AttachGroupPolicy(t.Context(), &iam.AttachGroupPolicyInput{GroupName: aws.String("a"), PolicyArn: aws.String(s3Read)})
	g.must(err)
}
