package identity

import (
	"strings"
	"time"
)

// Tag is a key and a value, on a resource or in a session. Keys are unique without regard to case.
type Tag struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// Permissions are the policies that say what a role, a user or the members of a group may do.
type Permissions struct {
	InlinePolicies   map[string]string `json:"inlinePolicies,omitempty"`      // by name, as the caller wrote them
	AttachedPolicies []string          `json:"attachedPolicies,omitempty"`    // ARNs of managed policies, in the order of attaching
	Boundary         string            `json:"permissionsBoundary,omitempty"` // ARN of a managed policy; empty means no boundary, as it is for all groups
}

// Role is an IAM role.
type Role struct {
	AccountID   string `json:"accountId"`
	Partition   string `json:"partition"`
	Path        string `json:"path"`
	Name        string `json:"name"`
	ID          string `json:"id"` // AROA…; a role made again under the same name has another
	Description string `json:"description,omitempty"`
	TrustPolicy string `json:"trustPolicy"` // as the caller wrote it

	// TrustedIDs are the unique ids of the roles and users that the trust policy names, by their ARNs in it, as they were when it was
	// written. Whom it does not have is known by the ARN.
	TrustedIDs map[string]string `json:"trustedIds,omitempty"`
	Permissions
	MaxSessionDuration int32     `json:"maxSessionDuration"` // seconds, 3600 to 43200
	Tags               []Tag     `json:"tags,omitempty"`
	CreatedAt          time.Time `json:"createdAt"`
}

// ARN names the role, its path included: arn:aws:iam::111122223333:role/team/web.
func (r *Role) ARN() string {
	return ARN{r.Partition, "iam", "", r.AccountID, "role" + r.Path + r.Name}.String()
}

// User is an IAM user.
type User struct {
	AccountID string `json:"accountId"`
	Partition string `json:"partition"`
	Path      string `json:"path"`
	Name      string `json:"name"`
	ID        string `json:"id"` // AIDA…
	Permissions
	AccessKeyIDs []string  `json:"accessKeyIds,omitempty"` // of its access keys, written in one transaction with them
	GroupIDs     []string  `json:"groupIds,omitempty"`     // of the groups that it is in, in the order of joining
	Tags         []Tag     `json:"tags,omitempty"`
	CreatedAt    time.Time `json:"createdAt"`
}

// ARN names the user: arn:aws:iam::111122223333:user/admin.
func (u *User) ARN() string {
	return ARN{u.Partition, "iam", "", u.AccountID, "user" + u.Path + u.Name}.String()
}

// Group is an IAM group: its policies count for all users who are in it. Which those are stands with the users.
type Group struct {
	AccountID string `json:"accountId"`
	Partition string `json:"partition"`
	Path      string `json:"path"`
	Name      string `json:"name"`
	ID        string `json:"id"` // AGPA…
	Permissions
	Members   int       `json:"members,omitempty"` // how many users are in it, written in one transaction with them
	CreatedAt time.Time `json:"createdAt"`
}

// ARN names the group: arn:aws:iam::111122223333:group/team/developers.
func (g *Group) ARN() string {
	return ARN{g.Partition, "iam", "", g.AccountID, "group" + g.Path + g.Name}.String()
}

// GroupRef is the group that has a name. Users hold on to the id, which stays when the name changes.
type GroupRef struct {
	ID string `json:"id"`
}

// AccessKey is a user's long-term access key. The secret is stored sealed; only the credential package opens it.
type AccessKey struct {
	ID           string    `json:"id"` // AKIA…
	AccountID    string    `json:"accountId"`
	UserName     string    `json:"userName"`
	SealedSecret []byte    `json:"sealedSecret"`
	Inactive     bool      `json:"inactive,omitempty"`
	CreatedAt    time.Time `json:"createdAt"`
}

// OIDCProvider is an IAM OpenID Connect identity provider: an issuer whose tokens an account accepts.
type OIDCProvider struct {
	AccountID   string    `json:"accountId"`
	Partition   string    `json:"partition"`
	URL         string    `json:"url"` // with its scheme, as given: equal to the iss claim
	ClientIDs   []string  `json:"clientIds"`
	Thumbprints []string  `json:"thumbprints,omitempty"`
	Tags        []Tag     `json:"tags,omitempty"`
	CreatedAt   time.Time `json:"createdAt"`
}

// HostPath is the issuer without its scheme, the form in which ARNs and condition keys name it.
func (p *OIDCProvider) HostPath() string { return IssuerHostPath(p.URL) }

// ARN names the provider: arn:aws:iam::111122223333:oidc-provider/oidc.example.com/id/1.
func (p *OIDCProvider) ARN() string {
	return ARN{p.Partition, "iam", "", p.AccountID, "oidc-provider/" + p.HostPath()}.String()
}

// IssuerHostPath cuts the scheme and a closing slash from an issuer URL.
func IssuerHostPath(issuer string) string {
	if _, rest, ok := strings.Cut(issuer, "://"); ok {
		issuer = rest
	}
	return strings.TrimSuffix(issuer, "/")
}

// CallerType says what kind of principal a caller is, in the words of the aws:PrincipalType condition key.
type CallerType string

// The caller types.
const (
	CallerUser          CallerType = "User"
	CallerAssumedRole   CallerType = "AssumedRole"
	CallerFederatedUser CallerType = "FederatedUser"
	CallerRoot          CallerType = "Account"
	CallerAnonymous     CallerType = "Anonymous"
)

// Caller is who signed a request.
type Caller struct {
	Type        CallerType
	AccountID   string
	ARN         string   // as GetCallerIdentity prints it; a session's is arn:aws:sts::…:assumed-role/…
	UserID      string   // AIDA…, AROA…:session, or of a federated user account:name
	UserName    string   // users only, those with a session's credentials included
	AccessKeyID string   // the key the request was signed with
	Session     *Session // sessions only
}

// PrincipalARN is the value of the aws:PrincipalArn condition key: for the session of a role the ARN of the role.
func (c *Caller) PrincipalARN() string {
	if c.Session != nil && c.Session.RoleARN != "" {
		return c.Session.RoleARN
	}
	return c.ARN
}

// Session is one assumption of a role, or what a user was given in exchange for its long-term key: everything that later requests are
// judged by. It is sealed into the session token, so that any server with the key can judge them without having seen the session being
// made. The short JSON names keep the token short: it travels in a header of every request.
type Session struct {
	RoleARN           string            `json:"r,omitempty"` // sessions of roles only
	RoleID            string            `json:"i,omitempty"`
	UserARN           string            `json:"u,omitempty"` // sessions of users only (GetSessionToken, GetFederationToken)
	UserID            string            `json:"v,omitempty"`
	AccountID         string            `json:"a"`
	Name              string            `json:"n,omitempty"` // empty for a user who has not taken another name
	Tags              []Tag             `json:"t,omitempty"` // session tags, inherited ones included
	TransitiveTagKeys []string          `json:"k,omitempty"`
	Policies          []string          `json:"p,omitempty"` // session policies; an action must be allowed by one of them too,
	PolicyARNs        []string          `json:"q,omitempty"` // or by one of these managed policies
	SourceIdentity    string            `json:"s,omitempty"`
	Federated         map[string]string `json:"f,omitempty"` // context keys of a web identity: aws:FederatedProvider, <issuer>:sub, …
	IssuedAt          time.Time         `json:"b"`
	ExpiresAt         time.Time         `json:"e"`
}

// Type is what kind of principal signs with the session's credentials.
func (s *Session) Type() CallerType {
	switch {
	case s.RoleARN != "":
		return CallerAssumedRole
	case s.Name != "":
		return CallerFederatedUser
	}
	return CallerUser
}

// Owner is the role or the user that the session is of.
func (s *Session) Owner() (arn, id string) {
	if s.RoleARN != "" {
		return s.RoleARN, s.RoleID
	}
	return s.UserARN, s.UserID
}

// ARN names the session. The role's path is not part of it: arn:aws:sts::111122223333:assumed-role/web/eks-prod-web-…. That of a
// federated user is arn:aws:sts::111122223333:federated-user/ana, and a user stays what it is.
func (s *Session) ARN() string {
	switch s.Type() {
	case CallerUser:
		return s.UserARN
	case CallerFederatedUser:
		arn, err := ParseARN(s.UserARN)
		if err != nil {
			return ""
		}
		return FederatedUserARN(arn.Partition, s.AccountID, s.Name)
	}
	arn, name, err := ParseRoleARN(s.RoleARN)
	if err != nil {
		return ""
	}
	return ARN{arn.Partition, "sts", "", s.AccountID, "assumed-role/" + name + "/" + s.Name}.String()
}

// FederatedUserARN names a federated user: arn:aws:sts::111122223333:federated-user/ana.
func FederatedUserARN(partition, accountID, name string) string {
	return ARN{partition, "sts", "", accountID, "federated-user/" + name}.String()
}

// ID is the session's unique id: AROA…:session, AIDA…, or of a federated user account:name.
func (s *Session) ID() string {
	switch s.Type() {
	case CallerUser:
		return s.UserID
	case CallerFederatedUser:
		return s.AccountID + ":" + s.Name
	}
	return s.RoleID + ":" + s.Name
}

// Credentials are temporary credentials for a session.
type Credentials struct {
	AccessKeyID     string // ASIA…
	SecretAccessKey Secret
	SessionToken    Secret
	ExpiresAt       time.Time
}
