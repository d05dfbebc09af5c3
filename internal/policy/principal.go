package policy

import (
	"slices"
	"strings"

	"github.com/podid/podid/internal/identity"
)

// Principal is who makes a request: a caller who signed it, an AWS service, or the user of an identity provider. At most one
// field is set; the zero Principal is anonymous.
type Principal struct {
	Caller    *identity.Caller // user, role session or root user
	Service   string           // pods.eks.amazonaws.com
	Federated string           // ARN of an OIDC or SAML provider, or the name of one that IAM knows (accounts.google.com)
}

// String names the principal in the words of the Principal element: Service pods.eks.amazonaws.com.
func (p Principal) String() string {
	switch {
	case p.caller() != nil:
		return "AWS " + p.Caller.ARN
	case p.Service != "":
		return "Service " + p.Service
	case p.Federated != "":
		return "Federated " + p.Federated
	}
	return "anonymous"
}

// caller returns the caller if an account answers for it.
func (p Principal) caller() *identity.Caller {
	if p.Caller == nil || p.Caller.Type == identity.CallerAnonymous {
		return nil
	}
	return p.Caller
}

// reach says how directly a Principal element names the one who asks. In the principal's own account it decides which of its own
// policies must allow too, see [Decide].
type reach byte

const (
	nobody    reach = iota // not at all
	asAccount              // its account, which leaves it to the account's policies whom it lets
	asAnyone               // "*"
	asRole                 // the role whose session it is, or the user of a federated user
	asSelf                 // the very user, session, service or provider
)

// principals is a compiled Principal or NotPrincipal element.
// See https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_principal.html.
type principals struct {
	not       bool
	everyone  bool
	accounts  []string
	arns      []string // users, roles, role sessions, federated users
	ids       []string // AIDA…, AROA…
	services  []string
	federated []string
	texts     []string // all of them, as Principal.String writes them
}

// add takes in one value. It returns false if that is not the name of a principal of the type. Wildcards are not, except a "*"
// that stands alone.
func (p *principals) add(kind, value string, trust bool) bool {
	p.texts = append(p.texts, kind+" "+value)
	if kind == "AWS" && value == "*" {
		p.everyone = true
		return true
	}
	if value == "" || strings.ContainsAny(value, "*?$ ") {
		return false
	}
	switch kind {
	case "AWS":
		return p.addAWS(value)
	case "Service":
		p.services = append(p.services, value)
		return strings.Contains(value, ".")
	case "Federated":
		p.federated = append(p.federated, value)
		return strings.Contains(value, ".") || strings.HasPrefix(value, "arn:")
	case "CanonicalUser": // an S3 account by another name; podid gives nobody one, so it matches nobody
		return !trust
	}
	return false
}

func (p *principals) addAWS(value string) bool {
	if identity.ValidAccountID(value) {
		p.accounts = append(p.accounts, value)
		return true
	}
	if strings.HasPrefix(value, string(identity.RoleID)) || strings.HasPrefix(value, string(identity.UserID)) {
		p.ids = append(p.ids, value)
		return true
	}
	arn, err := identity.ParseARN(value)
	if err != nil || arn.Region != "" || !identity.ValidAccountID(arn.AccountID) {
		return false
	}
	if arn.Service == "iam" && arn.Resource == "root" {
		p.accounts = append(p.accounts, arn.AccountID)
		return true
	}
	p.arns = append(p.arns, value)
	kind, name, _ := strings.Cut(arn.Resource, "/")
	switch arn.Service + ":" + kind {
	case "iam:user", "iam:role", "sts:federated-user":
		return name != ""
	case "sts:assumed-role":
		role, session, _ := strings.Cut(name, "/")
		return role != "" && session != ""
	}
	return false
}

// reach tells whether the element applies to who asks, and how directly it names them. In an Allow of a role's trust policy "*"
// means callers only: services and identity providers must be named.
func (p *principals) reach(who Principal, effect Effect, trust bool) reach {
	if p.not {
		return p.reachOthers(who, effect)
	}
	named := p.names(who)
	if p.everyone && (effect == Deny || !trust || who.caller() != nil) {
		named = max(named, asAnyone)
	}
	return named
}

// reachOthers is reach for NotPrincipal. A caller is known by several names: account, role, session. A Deny spares it only if all
// are listed, an Allow leaves it out if any is.
// See https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_notprincipal.html.
func (p *principals) reachOthers(who Principal, effect Effect) reach {
	listed := p.everyone || p.names(who) != nobody
	if c := who.caller(); c != nil && effect == Deny && !p.everyone {
		listed = slices.Contains(p.accounts, c.AccountID) && (c.Type == identity.CallerRoot || p.namesSelf(c)) &&
			(c.Session == nil || p.namesOwner(c.Session))
	}
	if listed {
		return nobody
	}
	return asAnyone
}

// names is how directly the element lists who asks, "*" left aside.
func (p *principals) names(who Principal) reach {
	if c := who.caller(); c != nil {
		switch {
		case p.namesSelf(c):
			return asSelf
		case c.Session != nil && p.namesOwner(c.Session):
			return asRole
		case slices.Contains(p.accounts, c.AccountID):
			return asAccount
		}
		return nobody
	}
	if who.Service != "" && slices.Contains(p.services, who.Service) ||
		who.Federated != "" && slices.Contains(p.federated, who.Federated) {
		return asSelf
	}
	return nobody
}

func (p *principals) namesSelf(c *identity.Caller) bool {
	return slices.Contains(p.arns, c.ARN) || c.UserID != "" && slices.Contains(p.ids, c.UserID)
}

func (p *principals) namesOwner(s *identity.Session) bool {
	arn, id := s.Owner()
	return slices.Contains(p.arns, arn) || id != "" && slices.Contains(p.ids, id)
}
