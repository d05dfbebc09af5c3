package policy

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Documents of each kind for the tables below. allow and deny are about the action that is asked for, other is not.
const (
	allow = `{"Effect":"Allow","Action":"s3:GetObject","Resource":"*"}`
	deny  = `{"Effect":"Deny","Action":"s3:GetObject","Resource":"*"}`
	other = `{"Effect":"Allow","Action":"s3:PutObject","Resource":"*"}`
)

func named(t testing.TB, kind Kind, name, statements string) *Named {
	t.Helper()
	return &Named{Name: name, Policy: mustParse(t, kind, document(statements))}
}

// bucket makes a resource policy statement for some principal.
func bucket(effect, principal string) string {
	return `{"Effect":"` + effect + `","Principal":` + principal + `,"Action":"s3:GetObject","Resource":"*"}`
}

// bucketNot makes one for all but some principal.
func bucketNot(principal string) string {
	return `{"Effect":"Allow","NotPrincipal":` + principal + `,"Action":"s3:GetObject","Resource":"*"}`
}

// bucketIf makes one for everyone under a condition.
func bucketIf(condition string) string {
	return `{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"*","Condition":{` + condition + `}}`
}

func TestDecide(t *testing.T) {
	const (
		account   = `{"AWS":"111122223333"}`
		self      = `{"AWS":"` + sessionARN + `"}`
		role      = `{"AWS":"` + roleARN + `"}`
		alice     = `{"AWS":"` + userARN + `"}`
		everyone  = `"*"`
		elsewhere = `{"AWS":"444455556666"}`
		aRole     = `"ArnLike":{"aws:PrincipalArn":"arn:aws:iam::*:role/*"}`
		noUser    = `"ArnNotLike":{"aws:PrincipalArn":"arn:aws:iam::*:user/*"}`
	)
	// In each layer "-" means that there is no such policy.
	tests := []struct {
		name                                  string
		who                                   Principal
		cross                                 bool
		identity, boundary, session, resource string
		want                                  string // allowed, or the reason, and by which layer
	}{
		{"identity allows", session(), false, allow, "-", "-", "-", "allowed by identity-based policy"},
		{"identity silent", session(), false, other, "-", "-", "-", "because no identity-based policy allows the s3:GetObject action"},
		{"nothing at all", session(), false, "-", "-", "-", "-", "because no identity-based policy allows the s3:GetObject action"},
		{"identity denies", session(), false, allow + "," + deny, "-", "-", "-", "with an explicit deny in an identity-based policy"},
		{"boundary allows too", session(), false, allow, allow, "-", "-", "allowed by identity-based policy"},
		{"boundary silent", session(), false, allow, other, "-", "-", "because no permissions boundary allows the s3:GetObject action"},
		{"boundary denies", session(), false, allow, deny, "-", "-", "with an explicit deny in a permissions boundary"},
		{"boundary alone gives nothing", session(), false, other, allow, "-", "-", "because no identity-based policy allows the s3:GetObject action"},
		{"session policy allows too", session(), false, allow, "-", allow, "-", "allowed by identity-based policy"},
		{"session policy silent", session(), false, allow, "-", other, "-", "because no session policy allows the s3:GetObject action"},
		{"session policy denies", session(), false, allow, "-", deny, "-", "with an explicit deny in a session policy"},
		{"session policy alone gives nothing", session(), false, "-", "-", allow, "-", "because no identity-based policy allows the s3:GetObject action"},

		{"bucket denies", session(), false, allow, "-", "-", bucket("Deny", everyone), "with an explicit deny in a resource-based policy"},
		{"bucket silent", session(), false, allow, "-", "-", bucket("Allow", elsewhere), "allowed by identity-based policy"},
		{"bucket names the account", session(), false, "-", "-", "-", bucket("Allow", account), "because no identity-based policy allows the s3:GetObject action"},
		{"bucket names everyone", session(), false, "-", "-", "-", bucket("Allow", everyone), "allowed by resource-based policy"},
		{"bucket names everyone, boundary", session(), false, "-", other, "-", bucket("Allow", everyone), "because no permissions boundary allows the s3:GetObject action"},
		{"bucket names everyone by ARN, boundary", session(), false, "-", other, other, bucketIf(aRole), "allowed by resource-based policy"},
		{"bucket names everyone by ARN, boundary denies", session(), false, "-", deny, "-", bucketIf(aRole), "with an explicit deny in a permissions boundary"},
		{"bucket leaves out an ARN, boundary", session(), false, "-", other, "-", bucketIf(noUser), "because no permissions boundary allows the s3:GetObject action"},
		{"bucket names all but another", session(), false, "-", "-", "-", bucketNot(elsewhere), "allowed by resource-based policy"},
		{"bucket names all but another, boundary", session(), false, "-", other, "-", bucketNot(elsewhere), "because no permissions boundary allows the s3:GetObject action"},
		{"bucket names the role", session(), false, "-", "-", "-", bucket("Allow", role), "allowed by resource-based policy"},
		{"bucket names the role, boundary", session(), false, "-", other, "-", bucket("Allow", role), "because no permissions boundary allows the s3:GetObject action"},
		{"bucket names the role, session policy", session(), false, "-", "-", other, bucket("Allow", role), "because no session policy allows the s3:GetObject action"},
		{"bucket names the session", session(), false, "-", other, other, bucket("Allow", self), "allowed by resource-based policy"},
		{"bucket names the session, identity denies", session(), false, deny, "-", "-", bucket("Allow", self), "with an explicit deny in an identity-based policy"},
		{"bucket names the session, boundary denies", session(), false, "-", deny, "-", bucket("Allow", self), "with an explicit deny in a permissions boundary"},
		{"bucket names the session later", session(), false, "-", other, other, bucket("Allow", role) + "," + bucket("Allow", self), "allowed by resource-based policy"},
		{"bucket names the user", user(), false, "-", other, "-", bucket("Allow", alice), "allowed by resource-based policy"},

		{"across, both allow", session(), true, allow, "-", "-", bucket("Allow", role), "allowed by identity-based policy"},
		{"across, bucket names the session", session(), true, "-", "-", "-", bucket("Allow", self), "because no identity-based policy allows the s3:GetObject action"},
		{"across, bucket silent", session(), true, allow, "-", "-", bucket("Allow", elsewhere), "because no resource-based policy allows the s3:GetObject action"},
		{"across, no bucket policy", session(), true, allow, "-", "-", "-", "because no resource-based policy allows the s3:GetObject action"},
		{"across, boundary", session(), true, allow, other, "-", bucket("Allow", everyone), "because no permissions boundary allows the s3:GetObject action"},

		{"root", root(), false, "-", "-", "-", "-", "allowed by identity-based policy"},
		{"root, bucket denies", root(), false, "-", "-", "-", bucket("Deny", everyone), "with an explicit deny in a resource-based policy"},
		{"root, across", root(), true, "-", "-", "-", "-", "because no resource-based policy allows the s3:GetObject action"},
		{"stranger", stranger(), false, allow, "-", "-", "-", "because no resource-based policy allows the s3:GetObject action"},
		{"stranger, public bucket", stranger(), false, "-", "-", "-", bucket("Allow", everyone), "allowed by resource-based policy"},
		{"stranger without a caller", Principal{}, true, "-", "-", "-", bucket("Allow", everyone), "allowed by resource-based policy"},
		{"service", Principal{Service: podsEKS}, true, "-", "-", "-", bucket("Allow", `{"Service":"pods.eks.amazonaws.com"}`), "allowed by resource-based policy"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := &Inputs{SameAccount: !tt.cross}
			if tt.identity != "-" {
				in.Identity = []*Named{named(t, Identity, "first", other), named(t, Identity, "second", tt.identity)}
			}
			if tt.boundary != "-" {
				in.Boundary = named(t, Boundary, "limit", tt.boundary)
			}
			if tt.session != "-" {
				in.Session = []*Named{named(t, Session, "managed", other), named(t, Session, "inline", tt.session)}
			}
			if tt.resource != "-" {
				in.Resource = named(t, Resource, "b", tt.resource)
			}
			d := Decide(&Request{"s3:GetObject", "arn:aws:s3:::b/k", tt.who, keys("aws:PrincipalArn", roleARN)}, in)
			got := d.Reason()
			if d.Allowed {
				got = "allowed by " + d.Cause.String()
			}
			if got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
			if d.Explicit != strings.HasPrefix(tt.want, "with") {
				t.Errorf("Explicit is %v", d.Explicit)
			}
		})
	}
}

func TestDecideTrust(t *testing.T) {
	const (
		may     = `{"Effect":"Allow","Action":"sts:AssumeRole","Resource":"*"}`
		pods    = `{"Effect":"Allow","Principal":{"Service":"pods.eks.amazonaws.com"},"Action":["sts:AssumeRole","sts:TagSession"]}`
		noTag   = `{"Effect":"Allow","Principal":{"Service":"pods.eks.amazonaws.com"},"Action":"sts:AssumeRole"}`
		irsa    = `{"Effect":"Allow","Principal":{"Federated":"` + provider + `"},"Action":"sts:AssumeRoleWithWebIdentity","Condition":{"StringEquals":{"oidc.example.com/id/1:sub":"system:serviceaccount:carts:carts","oidc.example.com/id/1:aud":"sts.amazonaws.com"}}}`
		silent  = "because no role trust policy allows the "
		needsID = "because no identity-based policy allows the sts:AssumeRole action"
	)
	names := func(principal string) string {
		return `{"Effect":"Allow","Principal":{"AWS":"` + principal + `"},"Action":"sts:AssumeRole"}`
	}
	service := Principal{Service: podsEKS}
	web := Principal{Federated: provider}
	claims := func(sub string) *Context {
		return keys("oidc.example.com/id/1:sub", sub, "oidc.example.com/id/1:aud", "sts.amazonaws.com")
	}
	tests := []struct {
		name     string
		action   string
		who      Principal
		cross    bool
		identity string
		trust    string
		ctx      *Context
		want     string // empty if allowed
	}{
		{"service", "sts:AssumeRole", service, false, "", pods, nil, ""},
		{"service may tag", "sts:TagSession", service, false, "", pods, nil, ""},
		{"service may not tag", "sts:TagSession", service, false, "", noTag, nil, silent + "sts:TagSession action"},
		{"other service", "sts:AssumeRole", Principal{Service: "ec2.amazonaws.com"}, false, "", pods, nil, silent + "sts:AssumeRole action"},
		{"service, everyone trusted", "sts:AssumeRole", service, false, "", names("*"), nil, silent + "sts:AssumeRole action"},
		{"service, everyone denied", "sts:AssumeRole", service, false, "",
			pods + `,{"Effect":"Deny","Principal":"*","Action":"*"}`, nil, "with an explicit deny in the role trust policy"},
		{"web identity", "sts:AssumeRoleWithWebIdentity", web, false, "", irsa, claims("system:serviceaccount:carts:carts"), ""},
		{"other subject", "sts:AssumeRoleWithWebIdentity", web, false, "", irsa, claims("system:serviceaccount:carts:orders"), silent + "sts:AssumeRoleWithWebIdentity action"},
		{"web identity, other action", "sts:AssumeRole", web, false, "", irsa, claims("system:serviceaccount:carts:carts"), silent + "sts:AssumeRole action"},
		{"no trust", "sts:AssumeRole", session(), false, may, names("444455556666"), nil, silent + "sts:AssumeRole action"},
		{"account trusted", "sts:AssumeRole", session(), false, may, names("111122223333"), nil, ""},
		{"account trusted, caller may not", "sts:AssumeRole", session(), false, allow, names("111122223333"), nil, needsID},
		{"everyone trusted, caller may not", "sts:AssumeRole", session(), false, allow, names("*"), nil, needsID},
		{"role trusted", "sts:AssumeRole", session(), false, allow, names(roleARN), nil, ""},
		{"session trusted", "sts:AssumeRole", session(), false, allow, names(sessionARN), nil, ""},
		{"user trusted", "sts:AssumeRole", user(), false, allow, names(userARN), nil, ""},
		{"user trusted across", "sts:AssumeRole", user(), true, allow, names(userARN), nil, needsID},
		{"user trusted across, may", "sts:AssumeRole", user(), true, may, names(userARN), nil, ""},
		{"root without trust", "sts:AssumeRole", root(), false, may, names(userARN), nil, silent + "sts:AssumeRole action"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := &Inputs{Resource: named(t, Trust, "web", tt.trust), SameAccount: !tt.cross}
			if tt.identity != "" {
				in.Identity = []*Named{named(t, Identity, "own", tt.identity)}
			}
			d := Decide(&Request{tt.action, roleARN, tt.who, tt.ctx}, in)
			if got := d.Reason(); got != tt.want || d.Allowed != (tt.want == "") {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestDecisionNamesPolicy(t *testing.T) {
	in := &Inputs{SameAccount: true, Identity: []*Named{
		named(t, Identity, "read", allow),
		named(t, Identity, "stop", other+`,{"Sid":"No","Effect":"Deny","Action":"s3:Get*","Resource":"*"}`),
	}}
	d := Decide(&Request{"s3:GetObject", "arn:aws:s3:::b/k", session(), nil}, in)
	want := Decision{
		Explicit: true, Cause: Identity, Policy: in.Identity[1], Action: "s3:GetObject", Resource: "arn:aws:s3:::b/k",
		Statement: &Statement{Number: 2, Sid: "No", Start: Position{1, 96}, End: Position{1, 157}},
	}
	if diff := cmp.Diff(want, d, cmp.Comparer(func(a, b *Named) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
	message := d.Message(sessionARN)
	wantMessage := "User: arn:aws:sts::111122223333:assumed-role/web/one is not authorized to perform: s3:GetObject " +
		"on resource: arn:aws:s3:::b/k with an explicit deny in an identity-based policy"
	if message != wantMessage {
		t.Errorf("got %s\nwant %s", message, wantMessage)
	}
}
