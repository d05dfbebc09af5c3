package webhook

import (
	"cmp"
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/podid/podid/internal/identity"
)

// grant is one way of giving a pod credentials: variables that lead an SDK to them, and the token that pays for them.
type grant struct {
	method      string
	name        string     // in warnings
	label       string     // on the pod; empty: none
	keys        []variable // set all together, or none where the container has one of them already
	rivals      []string   // variables for which SDKs leave these
	volume      string
	mountPath   string
	file        string // below mountPath
	audience    string
	expiration  int64 // seconds
	regionalSTS bool
}

type variable struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// choose finds the way in which the pod gets its credentials; nil: none. An association goes before a role that the service
// account is annotated with or mapped to, except where no agent could be reached: there the role is the only one that works.
func (m *Mutation) choose(p *pod, facts ServiceAccountFacts, s Settings) *grant {
	role := s.role(facts)
	if !facts.Associated {
		if role == "" {
			return nil
		}
		return m.webIdentity(p, role, facts, s)
	}
	place := p.withoutAgent(s)
	switch {
	case place == "":
		return m.containerCredentials(p, facts, s)
	case role == "":
		m.warn(fmt.Sprintf("this pod may run %s, where no node agent answers at %s: its association then gives it no credentials", place, s.CredentialsFullURI))
		return m.containerCredentials(p, facts, s)
	}
	m.warn(fmt.Sprintf("this pod may run %s, where no node agent answers at %s: it gets %s by web identity, and not the role of its association",
		place, s.CredentialsFullURI, shorten(role)))
	return m.webIdentity(p, role, facts, s)
}

// containerCredentials is the grant of EKS Pod Identity.
// See https://docs.aws.amazon.com/eks/latest/userguide/pod-id-how-it-works.html.
func (m *Mutation) containerCredentials(p *pod, facts ServiceAccountFacts, s Settings) *grant {
	g := &grant{
		method:      ContainerCredentials,
		name:        "Pod Identity",
		label:       Label,
		rivals:      []string{"AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"},
		volume:      s.VolumeName,
		mountPath:   s.MountPath,
		file:        s.TokenFile,
		audience:    s.Audience,
		expiration:  m.tokenExpiration(p, facts, s),
		regionalSTS: m.regionalSTS(facts, s),
	}
	g.keys = []variable{
		{"AWS_CONTAINER_CREDENTIALS_FULL_URI", s.CredentialsFullURI},
		{"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", g.tokenPath(p)},
	}
	if g.expiration == dayLong && s.Jitter != nil {
		g.expiration -= s.Jitter(jitterSeconds + 1)
	}
	return g
}

// webIdentity is the grant of IAM roles for service accounts.
// See https://docs.aws.amazon.com/eks/latest/userguide/iam-roles-for-service-accounts.html.
func (m *Mutation) webIdentity(p *pod, role string, facts ServiceAccountFacts, s Settings) *grant {
	if _, _, err := identity.ParseRoleARN(role); err != nil {
		m.warn(fmt.Sprintf("the service account's role %s is not the ARN of an IAM role: AWS STS will refuse it", shorten(strconv.Quote(role))))
	}
	audience := s.WebIdentityAudience
	if facts.Mapped != nil {
		audience = cmp.Or(facts.Mapped.Audience, audience)
	}
	g := &grant{
		method:      WebIdentity,
		name:        "the service account's role",
		rivals:      []string{"AWS_ACCESS_KEY_ID"},
		volume:      "aws-iam-token",
		mountPath:   s.WebIdentityMountPath,
		file:        "token",
		audience:    cmp.Or(facts.Annotations[s.AnnotationPrefix+"/audience"], audience),
		expiration:  m.tokenExpiration(p, facts, s),
		regionalSTS: m.regionalSTS(facts, s),
	}
	g.keys = []variable{{"AWS_ROLE_ARN", role}, {"AWS_WEB_IDENTITY_TOKEN_FILE", g.tokenPath(p)}}
	return g
}

// role is the one that the service account is annotated with, else the one it is mapped to. A bare name, with or without a path,
// becomes the ARN of a role of the settings' account.
func (s Settings) role(facts ServiceAccountFacts) string {
	role := facts.Annotations[s.AnnotationPrefix+"/role-arn"]
	if role == "" && facts.Mapped != nil {
		role = facts.Mapped.RoleARN
	}
	if role == "" || s.AccountID == "" || strings.Contains(role, "arn:") {
		return role
	}
	return identity.ARN{Partition: s.Partition, Service: "iam", AccountID: s.AccountID, Resource: "role/" + strings.TrimPrefix(role, "/")}.String()
}

// tokenExpiration is how long the pod's tokens live, in seconds: as the pod says, else its service account, else what that is
// mapped to, else the settings.
func (m *Mutation) tokenExpiration(p *pod, facts ServiceAccountFacts, s Settings) int64 {
	seconds := s.TokenExpirationSeconds
	if facts.Mapped != nil && facts.Mapped.TokenExpiration != 0 {
		seconds = min(max(facts.Mapped.TokenExpiration, minTokenExpiration), maxTokenExpiration)
	}
	name := s.AnnotationPrefix + "/token-expiration"
	for _, value := range []string{facts.Annotations[name], p.annotation(name)} {
		if value == "" {
			continue
		}
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil || n > maxTokenExpiration {
			m.warn(fmt.Sprintf("annotation %s is not a number of seconds: it is ignored", name))
			continue
		}
		seconds = max(n, minTokenExpiration)
	}
	return seconds
}

// regionalSTS tells whether SDKs are to call STS in their region: as the service account says, else what it is mapped to, else
// the settings.
func (m *Mutation) regionalSTS(facts ServiceAccountFacts, s Settings) bool {
	name := s.AnnotationPrefix + "/sts-regional-endpoints"
	if value := facts.Annotations[name]; value != "" {
		regional, err := strconv.ParseBool(value)
		if err == nil {
			return regional
		}
		m.warn(fmt.Sprintf("annotation %s of the service account is neither true nor false: it is ignored", name))
	}
	if facts.Mapped != nil && facts.Mapped.UseRegionalSTS != nil {
		return *facts.Mapped.UseRegionalSTS
	}
	return s.RegionalSTS
}

// tokenPath is the token's file as the pod's containers see it. On Windows the mount path itself stays as it is, the container
// runtime translates it.
func (g *grant) tokenPath(p *pod) string {
	file := path.Join(g.mountPath, g.file)
	if p.windows() {
		return "C:" + strings.ReplaceAll(file, "/", `\`)
	}
	return file
}

// shorten keeps a warning readable: Kubernetes cuts long ones anyway.
func shorten(s string) string {
	const limit = 100
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit], "") + "…"
}
