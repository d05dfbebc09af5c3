package cani

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/policy"
)

// facts are what an answer about a pod depends on.
type facts struct {
	cluster     *identity.Cluster
	association *identity.Association // nil if there is none
	roles       map[string]*entity    // all that needs names, by ARN
	resource    *resource
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

// assumed is the role that the request itself would assume: that of a role is a policy that is read with the role.
func assumed(req *Request) []string {
	_, _, err := identity.ParseRoleARN(req.Resource)
	action := strings.ToLower(req.Action)
	if err != nil || action != "sts:assumerole" && action != "sts:tagsession" && action != "sts:setsourceidentity" {
		return nil
	}
	return []string{req.Resource}
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
	p := a.session(f.roles[found.RoleARN], identity.PodSessionName(f.cluster.Name, pod.PodName, AnyPodUID), tags, f.cluster.Region)
	answer.add(a.exchange(f.cluster, p, req))
	if found.TargetRoleARN != "" && !p.missing {
		target, given := f.roles[found.TargetRoleARN], map[string][]string{}
		if found.ExternalID != "" {
			given["sts:ExternalId"] = []string{found.ExternalID}
		}
		answer.add(a.assume("target role", p, target, "sts:AssumeRole", given)...)
		p = a.session(target, p.caller.Session.Name, tags, f.cluster.Region)
	}
	if p.missing {
		return answer
	}
	if found.Policy != "" {
		p.restrict(found)
	}
	a.judgeRequest(answer, p, f.roles, f.resource, req)
	return answer
}

// judgePrincipal is about a principal that somebody is.
func (a *Asker) judgePrincipal(p *principal, roles map[string]*entity, on *resource, req *Request) *Answer {
	answer := newAnswer(req)
	answer.Principal = p.caller.ARN
	kind := "user"
	if p.caller.Session != nil {
		kind, answer.Role = "role", p.arn
		answer.NotLookedAt = append(answer.NotLookedAt, "session policies, and session tags that are not given with --context")
	}
	if p.missing {
		answer.add(Link{Name: kind, Of: p.arn, Verdict: Denied, Why: "there is no such " + kind})
		return answer
	}
	a.judgeRequest(answer, p, roles, on, req)
	return answer
}

func noAssociation(cluster string, account identity.ServiceAccount) Link {
	return Link{Name: "association", Of: account.Namespace + "/" + account.Name, Verdict: Denied, Why: fmt.Sprintf(
		"the cluster %[1]s has no association for %[2]s/%[3]s; create one with: aws eks create-pod-identity-association "+
			"--cluster-name %[1]s --namespace %[2]s --service-account %[3]s --role-arn ROLE_ARN", cluster, account.Namespace, account.Name)}
}

// exchange judges whether EKS Auth may assume the role for the pod.
func (a *Asker) exchange(cluster *identity.Cluster, p *principal, req *Request) Link {
	link := Link{Name: "trust policy", Of: p.arn}
	switch {
	case p.missing:
		link.Verdict, link.Why = Denied, "there is no such role"
		return link
	case p.trustErr != nil:
		link.unknown(p.trustErr)
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
	setAssume(keys, p.caller.Session.Name, p.sessionTags(), p.entity)
	var actions [][]Link
	for _, action := range withTags("sts:AssumeRole", p.sessionTags()) {
		request := &policy.Request{Action: action, Resource: p.arn, Principal: policy.Principal{Service: identity.PodIdentityService}, Context: keys}
		link := link
		link.conclude(&policy.Steps(request, &policy.Inputs{Resource: p.trust})[0], nil)
		actions = append(actions, []Link{link})
	}
	return first(actions)[0]
}

// assume judges whether a principal may assume a role, and hand its tags down. given are further condition keys.
func (a *Asker) assume(name string, from *principal, to *entity, action string, given map[string][]string) []Link {
	if to.missing {
		return []Link{{Name: name, Of: to.arn, Verdict: Denied, Why: "there is no such role"}}
	}
	sessionName := "any-session"
	if from.caller.Session != nil {
		sessionName = from.caller.Session.Name
	}
	keys := a.requestKeys(from.region)
	setPrincipal(keys, from)
	setAssume(keys, sessionName, from.sessionTags(), to)
	for key, values := range given {
		setValues(keys, key, values)
	}
	label := [2]string{name, to.arn}
	var actions [][]Link
	for _, action := range withTags(action, from.sessionTags()) {
		q := &question{
			who: from, action: action, on: to.arn, keys: keys, resource: to.trust, kind: policy.Trust, same: from.accountID == to.accountID, err: to.trustErr,
		}
		actions = append(actions, q.links(names{policy.Identity: label, policy.Boundary: label, policy.Session: label, policy.Trust: label}))
	}
	return first(actions)
}

// judgeRequest judges the request itself. Each kind of policy is a link.
func (a *Asker) judgeRequest(answer *Answer, p *principal, roles map[string]*entity, on *resource, req *Request) {
	if arns := assumed(req); len(arns) > 0 {
		answer.add(a.assume("assumed role", p, roles[arns[0]], req.Action, req.Context)...)
		return
	}
	if strings.EqualFold(req.Action, "sts:GetCallerIdentity") {
		// See https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html.
		answer.add(Link{Name: "permissions", Of: p.arn, Verdict: Allowed, Why: "everybody may ask who they are, whatever policies say"})
		return
	}
	keys := a.requestKeys(p.region)
	setPrincipal(keys, p)
	if on.accountID != "" {
		keys.Set("aws:ResourceAccount", on.accountID)
		if strings.HasPrefix(strings.ToLower(req.Action), "s3:") {
			keys.Set("s3:ResourceAccount", on.accountID)
		}
	}
	for key, values := range req.Context {
		setValues(keys, key, values)
	}
	q := &question{
		who: p, action: req.Action, on: req.Resource, keys: keys, resource: on.policy, kind: policy.Resource, same: on.sameAccount(p.accountID),
		must: on.mustAllow, err: on.err,
	}
	boundary := p.arn
	if p.boundary != nil {
		boundary = p.boundary.ARN
	}
	answer.add(q.links(names{
		policy.Identity: {"permissions", p.arn}, policy.Session: {"session policy", p.policyOf}, policy.Boundary: {"permissions boundary", boundary},
		policy.Resource: {"resource policy", req.Resource},
	})...)
	if on.unread {
		answer.NotLookedAt = append(answer.NotLookedAt, "the policy of the resource, if it has one")
	}
}

// withTags are the actions that a role's trust policy is asked for: tags need an action of their own.
func withTags(action string, tags []identity.Tag) []string {
	if len(tags) == 0 || !strings.EqualFold(action, "sts:AssumeRole") {
		return []string{action}
	}
	return []string{action, "sts:TagSession"}
}
