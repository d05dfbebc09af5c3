package cani

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/policy"
)

// facts are what an answer about a pod depends on.
type facts struct {
	cluster     *identity.Cluster
	association *identity.Association // nil if there is none
	roles       map[string]*role      // all that needs names, by ARN
}

// needs are the roles that have to be read.
func (f *facts) needs(req *Request) []string {
	if f.association == nil {
		return nil
	}
	arns := append(assumed(req), f.association.RoleARN)
	if f.association.TargetRoleARN != "" {
		arns = append(arns, f.association.TargetRoleARN)
	}
	return arns
}

// assumed is the role that the request itself would assume: a role is the one resource whose policy is read.
func assumed(req *Request) []string {
	_, _, err := identity.ParseRoleARN(req.Resource)
	action := strings.ToLower(req.Action)
	if err != nil || action != "sts:assumerole" && action != "sts:tagsession" && action != "sts:setsourceidentity" {
		return nil
	}
	return []string{req.Resource}
}

// session is a session of a role, as the exchange of a token or assuming a role makes it.
type session struct {
	*role
	identity.Session
	policies    []*policy.Named // session policies
	policiesErr error           // why they are not there
	region      string          // that its requests go to
}

func (s *session) caller() *identity.Caller {
	return &identity.Caller{
		Type: identity.CallerAssumedRole, AccountID: s.AccountID, ARN: s.Session.ARN(), UserID: s.Session.ID(), Session: &s.Session,
	}
}

// judgePod walks the path from the service account to the action.
func (a *Asker) judgePod(f *facts, pod identity.Subject, req *Request) *Answer {
	answer := newAnswer(req)
	answer.Cluster, answer.Namespace, answer.ServiceAccount = f.cluster.Name, pod.Namespace, pod.Name
	found := f.association
	if found == nil {
		answer.add(noAssociation(f.cluster.Name, pod.ServiceAccount))
		return answer
	}
	answer.Association, answer.Role = found.ID, cmp.Or(found.TargetRoleARN, found.RoleARN)
	answer.add(Link{Name: "association", Of: found.ID, Verdict: Allowed, Why: "gives " + pod.Namespace + "/" + pod.Name + " the role " + found.RoleARN})

	pod.PodName, pod.PodUID = cmp.Or(pod.PodName, AnyPodName), cmp.Or(pod.PodUID, AnyPodUID)
	var tags []identity.Tag
	if !found.DisableSessionTags {
		tags = identity.PodSessionTags(f.cluster, pod)
	}
	s := a.newSession(f.roles[found.RoleARN], identity.PodSessionName(f.cluster.Name, pod.PodName, AnyPodUID), tags, f.cluster.Region)
	answer.add(a.exchange(f.cluster, s, req))
	if found.TargetRoleARN != "" && !s.missing {
		target, given := f.roles[found.TargetRoleARN], map[string][]string{}
		if found.ExternalID != "" {
			given["sts:ExternalId"] = []string{found.ExternalID}
		}
		answer.add(a.assume("target role", s, target, "sts:AssumeRole", given))
		s = a.newSession(target, s.Name, tags, f.cluster.Region)
	}
	if s.missing {
		return answer
	}
	if found.Policy != "" {
		s.restrict(found)
	}
	a.judgeRequest(answer, s, f.roles, req)
	return answer
}

// judgeRole is about a session of a role that somebody has.
func (a *Asker) judgeRole(roles map[string]*role, arn string, req *Request) *Answer {
	answer := newAnswer(req)
	answer.Role = arn
	r := roles[arn]
	if r.missing {
		answer.add(Link{Name: "role", Of: arn, Verdict: Denied, Why: "there is no such role"})
		return answer
	}
	a.judgeRequest(answer, a.newSession(r, "any-session", nil, a.cfg.AWS.Region), roles, req)
	return answer
}

func noAssociation(cluster string, account identity.ServiceAccount) Link {
	return Link{Name: "association", Of: account.Namespace + "/" + account.Name, Verdict: Denied, Why: fmt.Sprintf(
		"the cluster %[1]s has no association for %[2]s/%[3]s; create one with: aws eks create-pod-identity-association "+
			"--cluster-name %[1]s --namespace %[2]s --service-account %[3]s --role-arn ROLE_ARN", cluster, account.Namespace, account.Name)}
}

func (a *Asker) newSession(r *role, name string, tags []identity.Tag, region string) *session {
	s := &session{role: r, region: region, Session: identity.Session{
		RoleARN: r.arn, RoleID: r.id, AccountID: r.accountID, Name: name, Tags: tags, IssuedAt: a.cfg.Now(),
	}}
	for _, tag := range tags {
		s.TransitiveTagKeys = append(s.TransitiveTagKeys, tag.Key)
	}
	return s
}

// restrict gives the session the association's session policy.
func (s *session) restrict(from *identity.Association) {
	compiled, err := policy.Parse(policy.Session, from.Policy)
	if err != nil {
		s.policiesErr = fmt.Errorf("reading the session policy of %s: %w", from.ID, err)
		return
	}
	s.policies = []*policy.Named{{Name: from.ID, Policy: compiled}}
}

// exchange judges whether EKS Auth may assume the role for the pod.
func (a *Asker) exchange(cluster *identity.Cluster, s *session, req *Request) Link {
	link := Link{Name: "trust policy", Of: s.arn}
	switch {
	case s.missing:
		link.Verdict, link.Why = Denied, "there is no such role"
		return link
	case s.trustErr != nil:
		link.Verdict, link.Why = Unknown, s.trustErr.Error()
		return link
	}
	keys := a.requestKeys(cluster.Region)
	keys.Set("aws:PrincipalIsAWSService", "true")
	keys.Set("aws:PrincipalServiceName", identity.PodIdentityService)
	keys.Set("aws:SourceArn", cluster.ARN())
	keys.Set("aws:SourceAccount", cluster.AccountID)
	for _, key := range []string{"aws:SourceOrgID", "aws:SourceOrgPaths"} { // of EKS's call, and only the caller of cani can know them
		setValues(keys, key, req.Context[key])
	}
	assumeKeys(keys, &s.Session, s.role)
	in := &policy.Inputs{Resource: s.trust}
	link.conclude(explainAll(policy.Principal{Service: identity.PodIdentityService}, withTags("sts:AssumeRole", s.Tags), s.arn, keys, in), nil)
	return link
}

// assume judges whether a session may assume another role, and hand its tags down. given are further condition keys.
func (a *Asker) assume(name string, from *session, to *role, action string, given map[string][]string) Link {
	link := Link{Name: name, Of: to.arn}
	if to.missing {
		link.Verdict, link.Why = Denied, "there is no such role"
		return link
	}
	keys := a.requestKeys(from.region)
	principalKeys(keys, from)
	assumeKeys(keys, &from.Session, to)
	for key, values := range given {
		setValues(keys, key, values)
	}
	in := &policy.Inputs{
		Identity: from.role.policies, Boundary: from.boundary, Session: from.policies, Resource: to.trust,
		SameAccount: true, // of roles in two accounts never both are known
	}
	e := explainAll(policy.Principal{Caller: from.caller()}, withTags(action, from.Tags), to.arn, keys, in)
	err := cmp.Or(from.role.policiesErr, from.boundaryErr, from.policiesErr)
	// Without the trust policy only one of the two sides is known. In another account it decides if it does not allow.
	if e.Decision.Allowed || from.accountID == to.accountID {
		err = cmp.Or(err, to.trustErr)
	}
	link.conclude(e, err)
	return link
}

// judgeRequest judges the request of a session: each kind of policy is a link, for all of them must allow.
func (a *Asker) judgeRequest(answer *Answer, s *session, roles map[string]*role, req *Request) {
	if arns := assumed(req); len(arns) > 0 {
		answer.add(a.assume("assumed role", s, roles[arns[0]], req.Action, req.Context))
		return
	}
	if strings.EqualFold(req.Action, "sts:GetCallerIdentity") {
		// See https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html.
		answer.add(Link{Name: "permissions", Of: s.arn, Verdict: Allowed, Why: "everybody may ask who they are, whatever policies say"})
		return
	}
	keys := a.requestKeys(s.region)
	principalKeys(keys, s)
	for key, values := range req.Context {
		setValues(keys, key, values)
	}
	judge := func(name, of string, kind policy.Kind, policies []*policy.Named, err error) {
		link := Link{Name: name, Of: of}
		in := &policy.Inputs{Identity: policies, SameAccount: true}
		e := explainAll(policy.Principal{Caller: s.caller()}, []string{req.Action}, req.Resource, keys, in)
		e.Decision.Cause = kind // judged alone, policies of all three kinds work alike
		link.conclude(e, err)
		answer.add(link)
	}
	judge("permissions", s.arn, policy.Identity, s.role.policies, s.role.policiesErr)
	if s.policies != nil || s.policiesErr != nil {
		judge("session policy", answer.Association, policy.Session, s.policies, s.policiesErr)
	}
	switch {
	case s.boundary != nil:
		judge("permissions boundary", s.boundary.ARN, policy.Boundary, []*policy.Named{s.boundary}, nil)
	case s.boundaryErr != nil:
		judge("permissions boundary", s.arn, policy.Boundary, nil, s.boundaryErr)
	}
	if arn, err := identity.ParseARN(req.Resource); err == nil && identity.ValidAccountID(arn.AccountID) && arn.AccountID != s.AccountID {
		answer.add(Link{Name: "resource policy", Of: req.Resource, Verdict: Unknown, Why: "the resource belongs to account " + arn.AccountID +
			", so its own policy must allow the request too, and that is not read"})
	}
}

// explainAll explains the first action that is denied, or else the first of all.
func explainAll(who policy.Principal, actions []string, resource string, keys *policy.Context, in *policy.Inputs) policy.Explanation {
	var first policy.Explanation
	for i, action := range actions {
		e := policy.Explain(&policy.Request{Action: action, Resource: resource, Principal: who, Context: keys}, in)
		if i == 0 {
			first = e
		}
		if !e.Decision.Allowed {
			return e
		}
	}
	return first
}

// withTags are the actions that a role's trust policy is asked for: tags need an action of their own.
func withTags(action string, tags []identity.Tag) []string {
	if len(tags) == 0 || !strings.EqualFold(action, "sts:AssumeRole") {
		return []string{action}
	}
	return []string{action, "sts:TagSession"}
}

// requestKeys are the condition keys that every request has. The address it comes from is not among them, for nobody knows it.
func (a *Asker) requestKeys(region string) *policy.Context {
	keys, now := new(policy.Context), a.cfg.Now()
	keys.Set("aws:CurrentTime", now.UTC().Format(time.RFC3339))
	keys.Set("aws:EpochTime", strconv.FormatInt(now.Unix(), 10))
	keys.Set("aws:SecureTransport", strconv.FormatBool(a.secure))
	keys.Set("aws:PrincipalIsAWSService", "false")
	keys.Set("aws:RequestedRegion", region)
	return keys
}

// principalKeys are those that say who asks. Tags of the session go before those of its role.
func principalKeys(keys *policy.Context, s *session) {
	keys.Set("aws:PrincipalArn", s.arn)
	keys.Set("aws:PrincipalAccount", s.AccountID)
	keys.Set("aws:PrincipalType", string(identity.CallerAssumedRole))
	keys.Set("aws:userid", s.Session.ID())
	keys.SetTags("aws:PrincipalTag/", s.role.tags)
	keys.SetTags("aws:PrincipalTag/", s.Session.Tags)
	keys.Set("aws:TokenIssueTime", s.IssuedAt.UTC().Format(time.RFC3339))
}

// assumeKeys are those of assuming a role, for a session of that name and with those tags.
func assumeKeys(keys *policy.Context, s *identity.Session, to *role) {
	keys.SetTags("aws:RequestTag/", s.Tags)
	keys.SetMany("aws:TagKeys", s.TransitiveTagKeys...) // all tags are transitive
	keys.SetMany("sts:TransitiveTagKeys", s.TransitiveTagKeys...)
	keys.SetTags("aws:ResourceTag/", to.tags)
	keys.SetTags("iam:ResourceTag/", to.tags)
	keys.Set("sts:RoleSessionName", s.Name)
}

func setValues(keys *policy.Context, key string, values []string) {
	switch len(values) {
	case 0:
	case 1:
		keys.Set(key, values[0])
	default:
		keys.SetMany(key, values...)
	}
}

func lastPart(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }
