package cani

import (
	"context"
	"fmt"
	"strings"

	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/policy"
)

// principal is who makes a request: a user, a session of a role, or the root user of an account.
type principal struct {
	*entity
	caller *identity.Caller

	sessionPolicies []*policy.Named
	sessionErr      error  // why they are not there
	policyOf        string // what the session policies are of, for people
	region          string // that its requests go to
}

// session is a session of a role, as the exchange of a token or assuming a role makes it.
func (a *Asker) session(role *entity, name string, tags []identity.Tag, region string) *principal {
	s := &identity.Session{RoleARN: role.arn, RoleID: role.id, AccountID: role.accountID, Name: name, Tags: tags, IssuedAt: a.cfg.Now()}
	for _, tag := range tags {
		s.TransitiveTagKeys = append(s.TransitiveTagKeys, tag.Key)
	}
	return &principal{entity: role, region: region, caller: &identity.Caller{
		Type: identity.CallerAssumedRole, AccountID: role.accountID, ARN: s.ARN(), UserID: s.ID(), Session: s,
	}}
}

// tags are the session's, which it hands down to the roles that it assumes.
func (p *principal) sessionTags() []identity.Tag {
	if p.caller.Session == nil {
		return nil
	}
	return p.caller.Session.Tags
}

// restrict gives the session the association's session policy.
func (p *principal) restrict(from *identity.Association) {
	p.policyOf = from.ID
	compiled, err := policy.Parse(policy.Session, from.Policy)
	if err != nil {
		p.sessionErr = fmt.Errorf("reading the session policy of %s: %w", from.ID, err)
		return
	}
	p.sessionPolicies = []*policy.Named{{Name: from.ID, Policy: compiled}}
}

// principal finds the principal of an ARN.
func (a *Asker) principal(ctx context.Context, r *reader, text string) (*principal, error) {
	arn, err := identity.ParseARN(text)
	kind, name, _ := strings.Cut(arn.Resource, "/")
	if err != nil || arn.Region != "" || !identity.ValidAccountID(arn.AccountID) {
		return nil, errPrincipal(text)
	}
	switch {
	case arn.Service == "iam" && arn.Resource == "root":
		root := &entity{arn: text, accountID: arn.AccountID}
		caller := &identity.Caller{Type: identity.CallerRoot, AccountID: arn.AccountID, ARN: text, UserID: arn.AccountID}
		return &principal{entity: root, caller: caller, region: a.cfg.AWS.Region}, nil
	case arn.Service == "iam" && kind == "user" && identity.ValidIAMName(lastPart(name), 64):
		user := r.user(ctx, arn)
		return &principal{entity: user, region: a.cfg.AWS.Region, caller: &identity.Caller{
			Type: identity.CallerUser, AccountID: arn.AccountID, ARN: text, UserID: user.id, UserName: lastPart(name),
		}}, nil
	case arn.Service == "iam" && kind == "role" && identity.ValidIAMName(lastPart(name), 64):
		return a.session(r.role(ctx, text), "any-session", nil, a.cfg.AWS.Region), nil
	case arn.Service == "sts" && kind == "assumed-role":
		role, session, ok := strings.Cut(name, "/")
		if !ok || !identity.ValidIAMName(role, 64) || !identity.ValidSessionName(session) {
			break
		}
		// The role's path is not in the session's ARN; where the role cannot be read it is taken to have none.
		found := &entity{arn: identity.ARN{Partition: arn.Partition, Service: "iam", AccountID: arn.AccountID, Resource: "role/" + role}.String()}
		whichever := func(string) bool { return true }
		return a.session(r.roleNamed(ctx, found, arn.AccountID, role, whichever), session, nil, a.cfg.AWS.Region), nil
	}
	return nil, errPrincipal(text)
}

func errPrincipal(text string) error {
	return fmt.Errorf("principal %q: want the ARN of a user, a role, a role's session (arn:aws:sts::111122223333:assumed-role/ROLE/SESSION) "+
		"or an account's root user", text)
}
