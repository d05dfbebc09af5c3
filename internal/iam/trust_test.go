package iam_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/podid/podid/internal/directory"
	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/server"
	"github.com/podid/podid/internal/server/servertest"
	"github.com/podid/podid/internal/store"
)

// world is a server with roles and users that trust each other.
type world struct {
	t *testing.T
	*servertest.Server
	*iam.Client
}

func newWorld(t *testing.T, s *servertest.Server) world {
	return world{t, s, iam.NewFromConfig(s.Admin)}
}

// role makes a role that the administrator may assume, and returns a session of it.
func (w world) role(name string) aws.Config {
	w.t.Helper()
	w.MakeRole(name, servertest.TrustAdmin, "")
	return w.Session(w.t, w.Server.Admin, servertest.RoleARN(name), nil)
}

// removeRole deletes a role without policies.
func (w world) removeRole(name string) {
	w.t.Helper()
	if _, err := w.DeleteRole(w.t.Context(), &iam.DeleteRoleInput{RoleName: &name}); err != nil {
		w.t.Fatal(err)
	}
}

// user makes a user and returns a configuration with a key of it, and the user's id.
func (w world) user(name string) (aws.Config, string) {
	w.t.Helper()
	out, err := w.CreateUser(w.t.Context(), &iam.CreateUserInput{UserName: &name})
	if err != nil {
		w.t.Fatal(err)
	}
	_, cfg := newKey(w.t, w.Server, name)
	return cfg, *out.User.UserId
}

func (w world) removeUser(name string, by aws.Config) {
	w.t.Helper()
	credentials, err := by.Credentials.Retrieve(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.DeleteAccessKey(w.t.Context(), &iam.DeleteAccessKeyInput{UserName: &name, AccessKeyId: &credentials.AccessKeyID}); err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.DeleteUser(w.t.Context(), &iam.DeleteUserInput{UserName: &name}); err != nil {
		w.t.Fatal(err)
	}
}

// trust writes the trust policy of the role vault.
func (w world) trust(text string) error {
	_, err := w.UpdateAssumeRolePolicy(w.t.Context(), &iam.UpdateAssumeRolePolicyInput{RoleName: aws.String("vault"), PolicyDocument: &text})
	return err
}

// wantShown checks what every operation says that the trust policy of vault is.
func (w world) wantShown(want string) {
	w.t.Helper()
	got, err := w.GetRole(w.t.Context(), &iam.GetRoleInput{RoleName: aws.String("vault")})
	if err != nil {
		w.t.Fatal(err)
	}
	if text := document(w.t, got.Role.AssumeRolePolicyDocument); text != want {
		w.t.Errorf("GetRole shows %s, want %s", text, want)
	}
	list, err := w.ListRoles(w.t.Context(), nil)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, r := range list.Roles {
		if text := document(w.t, r.AssumeRolePolicyDocument); *r.RoleName == "vault" && text != want {
			w.t.Errorf("ListRoles shows %s, want %s", text, want)
		}
	}
	details, err := w.GetAccountAuthorizationDetails(w.t.Context(), &iam.GetAccountAuthorizationDetailsInput{Filter: []types.EntityType{types.EntityTypeRole}})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, r := range details.RoleDetailList {
		if text := document(w.t, r.AssumeRolePolicyDocument); *r.RoleName == "vault" && text != want {
			w.t.Errorf("GetAccountAuthorizationDetails shows %s, want %s", text, want)
		}
	}
}

// wantMay checks whether somebody may assume vault.
func (w world) wantMay(who string, by aws.Config, want bool) {
	w.t.Helper()
	_, _, err := w.Assume(w.t, by, servertest.RoleARN("vault"), nil)
	if want && err != nil {
		w.t.Errorf("%s may not: %v", who, err)
	}
	if !want {
		servertest.WantRefused(w.t, err, "AccessDenied", 403, "because no role trust policy allows the sts:AssumeRole action")
	}
}

// A trust policy means the roles and users who were there when it was written, and not those who get their names later.
func TestTrustedNamesake(t *testing.T) {
	w := newWorld(t, servertest.New(t, nil))
	w.role("vault")
	app := w.role("app")
	ann, annID := w.user("Ann")
	appRole, err := w.GetRole(t.Context(), &iam.GetRoleInput{RoleName: aws.String("app")})
	if err != nil {
		t.Fatal(err)
	}
	appID := *appRole.Role.RoleId
	const text = `{"Version":"2012-10-17",
	"Statement":{"Effect":"Allow",  "Action":"sts:AssumeRole","Principal":{"AWS":["arn:aws:iam::111122223333:role/app", "arn:aws:iam::111122223333:user/Ann"]},
	"Condition":{"ArnLike":{"aws:PrincipalArn":["arn:aws:iam::111122223333:role/app","arn:aws:iam::111122223333:user/*"]}}}}`
	if err := w.trust(text); err != nil {
		t.Fatal(err)
	}
	w.wantShown(text)
	w.wantMay("app", app, true)
	w.wantMay("Ann", ann, true)

	w.removeRole("app")
	withoutApp := strings.Replace(text, "arn:aws:iam::111122223333:role/app", appID, 1)
	w.wantShown(withoutApp)
	app = w.role("app")
	w.wantShown(withoutApp)
	w.wantMay("the new app", app, false)
	w.wantMay("Ann", ann, true)

	w.removeUser("Ann", ann)
	withoutBoth := strings.Replace(withoutApp, "arn:aws:iam::111122223333:user/Ann", annID, 1)
	w.wantShown(withoutBoth)
	ann, _ = w.user("Ann")
	w.wantShown(withoutBoth)
	w.wantMay("the new Ann", ann, false)

	if err := w.trust(withoutBoth); err != nil {
		t.Fatalf("saving again what is shown: %v", err)
	}
	w.wantShown(withoutBoth)
	w.wantMay("the new app", app, false)
	w.wantMay("the new Ann", ann, false)
	if err := w.trust(text); err != nil {
		t.Fatal(err)
	}
	w.wantShown(text)
	w.wantMay("the new app, which is named now", app, true)
	w.wantMay("the new Ann, who is named now", ann, true)

	w.Stop()
	again := newWorld(t, servertest.Open(t, w.DataDir, nil))
	again.wantShown(text)
	again.wantMay("app after a restart", again.Session(t, again.Server.Admin, servertest.RoleARN("app"), nil), true)
	again.removeRole("app")
	again.wantMay("another app after a restart", again.role("app"), false)
}

// Who is renamed is still the same.
func TestTrustedUserIsRenamed(t *testing.T) {
	w := newWorld(t, servertest.New(t, nil))
	w.role("vault")
	ann, _ := w.user("Ann")
	text := servertest.Trust(`{"AWS":"arn:aws:iam::111122223333:user/Ann"}`, `"sts:AssumeRole"`, "")
	if err := w.trust(text); err != nil {
		t.Fatal(err)
	}
	if _, err := w.UpdateUser(t.Context(), &iam.UpdateUserInput{UserName: aws.String("Ann"), NewUserName: aws.String("Anna"), NewPath: aws.String("/team/")}); err != nil {
		t.Fatal(err)
	}
	w.wantMay("Anna", ann, true)
	w.wantShown(strings.Replace(text, "user/Ann", "user/team/Anna", 1))
	other, _ := w.user("Ann")
	w.wantMay("another Ann", other, false)
	w.wantShown(strings.Replace(text, "user/Ann", "user/team/Anna", 1))
}

// Of accounts that the server does not hold it cannot know who is there.
func TestTrustedAccounts(t *testing.T) {
	const member = "444455556666"
	w := newWorld(t, servertest.New(t, func(cfg *server.Config) { cfg.MemberAccountIDs = []string{member} }))
	w.role("vault")
	for principal, exists := range map[string]bool{
		"arn:aws:iam::999999999999:role/far":                               true,
		"arn:aws:iam::999999999999:user/far":                               true,
		"arn:aws:iam::" + member + ":role/OrganizationAccountAccessRole":   true,
		"arn:aws:iam::" + member + ":role/none":                            false,
		"arn:aws:iam::" + member + ":user/none":                            false,
		"arn:aws-cn:iam::111122223333:user/admin":                          false,
		"arn:aws:sts::111122223333:assumed-role/none/session":              true,
		"AROAEXAMPLEEXAMPLE123":                                            true,
		"arn:aws:iam::111122223333:user/ADMIN":                             false,
		"arn:aws:iam::999999999999:oidc-provider/oidc.example.com":         false,
		"arn:aws:iam::111122223333:group/g":                                false,
		"arn:aws:iam::" + member + ":role/x/OrganizationAccountAccessRole": false,
	} {
		text := servertest.Trust(`{"AWS":"`+principal+`"}`, `"sts:AssumeRole"`, "")
		err := w.trust(text)
		if exists && err != nil {
			t.Errorf("%s: %v", principal, err)
		}
		if !exists {
			servertest.WantRefused(t, err, "MalformedPolicyDocument", 400, `Invalid principal in policy: "AWS":"`+principal+`"`)
			continue
		}
		w.wantShown(text)
	}
	inside := w.Session(t, w.Server.Admin, "arn:aws:iam::"+member+":role/OrganizationAccountAccessRole", nil)
	if err := w.trust(servertest.Trust(`{"AWS":"arn:aws:iam::`+member+`:role/OrganizationAccountAccessRole"}`, `"sts:AssumeRole"`, "")); err != nil {
		t.Fatal(err)
	}
	w.wantMay("a role of the other account", inside, true)
}

// Roles that were stored without the ids of those whom they trust know them by their ARNs, until the trust policy is written again.
func TestTrustWithoutIDs(t *testing.T) {
	w := newWorld(t, servertest.New(t, nil))
	w.role("vault")
	w.role("app")
	text := servertest.Trust(`{"AWS":"arn:aws:iam::111122223333:role/app"}`, `"sts:AssumeRole"`, "")
	if err := w.trust(text); err != nil {
		t.Fatal(err)
	}
	w.Stop()
	stored, err := store.Open(t.Context(), store.Config{DataDir: filepath.Join(w.DataDir, "etcd"), UnsafeNoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	roles := directory.New(stored).Roles
	if err := stored.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err = roles.Update(t.Context(), directory.Key(servertest.AccountID, "vault"), func(r *identity.Role) error {
		if len(r.TrustedIDs) != 1 {
			t.Errorf("stored ids %v", r.TrustedIDs)
		}
		r.TrustedIDs = nil
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := stored.Close(); err != nil {
		t.Fatal(err)
	}

	w = newWorld(t, servertest.Open(t, w.DataDir, nil))
	w.removeRole("app")
	w.wantShown(text)
	app := w.role("app")
	w.wantMay("the new app, by its ARN", app, true)
	if err := w.trust(text); err != nil {
		t.Fatal(err)
	}
	w.removeRole("app")
	w.wantMay("a newer app", w.role("app"), false)
}
