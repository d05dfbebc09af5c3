package iam

import (
	"context"
	"encoding/base64"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/policy"
	"github.com/podid/podid/internal/wire"
)

// simulateInput is what both simulations take.
type simulateInput struct {
	PolicyInputList                    []string       `form:"PolicyInputList"`
	PermissionsBoundaryPolicyInputList []string       `form:"PermissionsBoundaryPolicyInputList"`
	ActionNames                        []string       `form:"ActionNames"`
	ResourceARNs                       []string       `form:"ResourceArns"`
	ResourcePolicy                     string         `form:"ResourcePolicy"`
	ResourceOwner                      string         `form:"ResourceOwner"`
	CallerARN                          string         `form:"CallerArn"`
	ContextEntries                     []contextEntry `form:"ContextEntries"`
	page
}

// contextEntry is a condition key and its values.
type contextEntry struct {
	Key    string   `form:"ContextKeyName"`
	Values []string `form:"ContextKeyValues"`
	Type   string   `form:"ContextKeyType"`
}

const (
	// maxSimulation bounds the work of one question: how many characters the given policies have, times how many the values.
	maxSimulation = 1 << 29
	// maxSimulationTime is how long questions are answered for one page. The rest is on the next one.
	maxSimulationTime = 5 * time.Second
)

var contextTypes = []string{"string", "stringList", "numeric", "numericList", "boolean", "booleanList", "ip", "ipList", "binary", "binaryList", "date", "dateList"}

// Validate checks the members; without resources "*" is asked about.
func (in *simulateInput) Validate() error {
	if len(in.ActionNames) == 0 {
		return errConstraint("[]", "actionNames", "Member must not be null")
	}
	for _, action := range in.ActionNames {
		if vendor, name, ok := strings.Cut(action, ":"); len(action) < 3 || len(action) > 128 || !ok || vendor == "" || name == "" {
			return errInvalidInput("Invalid Entity Action name %q: want service:Action.", action[:min(len(action), 140)])
		}
	}
	if len(in.ResourceARNs) == 0 {
		in.ResourceARNs = []string{"*"}
	}
	for _, arn := range in.ResourceARNs {
		if len(arn) < 1 || len(arn) > 2048 {
			return errConstraint(arn[:min(len(arn), 60)], "resourceArns", "Member must have length between 1 and 2048")
		}
	}
	if len(in.PermissionsBoundaryPolicyInputList) > 1 {
		return errInvalidInput("PermissionsBoundaryPolicyInputList must have at most one policy.")
	}
	for _, e := range in.ContextEntries {
		if len(e.Key) < 5 || len(e.Key) > 256 {
			return errConstraint(e.Key[:min(len(e.Key), 60)], "contextEntries.contextKeyName", "Member must have length between 5 and 256")
		}
		if !slices.Contains(contextTypes, e.Type) {
			return errConstraint(e.Type[:min(len(e.Type), 60)], "contextEntries.contextKeyType", "Member must satisfy enum value set: ["+strings.Join(contextTypes, ", ")+"]")
		}
		if !strings.HasSuffix(e.Type, "List") && len(e.Values) != 1 {
			return errInvalidInput("The context key %s of type %s must have one value; it has %d.", e.Key, e.Type, len(e.Values))
		}
	}
	if _, err := in.first(); err != nil {
		return err
	}
	if err := in.checkSize(); err != nil {
		return err
	}
	return in.page.Validate()
}

// checkSize refuses what would take long to judge, since each value is compared with each pattern.
func (in *simulateInput) checkSize() error {
	policies, values := len(in.ResourcePolicy), 0
	for _, text := range slices.Concat(in.PolicyInputList, in.PermissionsBoundaryPolicyInputList) {
		policies += len(text)
	}
	for _, e := range in.ContextEntries {
		for _, value := range e.Values {
			values += len(value)
		}
	}
	if policies*values > maxSimulation {
		return errInvalidInput("The policies with %d characters and the values of ContextEntries with %d are too large to be simulated together.", policies, values)
	}
	return nil
}

// first is the number of the first question on the page. The marker is that number, since the questions are the request's own.
func (in *simulateInput) first() (int, error) {
	raw, err := base64.RawURLEncoding.DecodeString(in.Marker)
	if err != nil || in.Marker == "" {
		return 0, nil // a marker that is not base64 is refused by the page
	}
	n, err := strconv.Atoi(string(raw))
	if err != nil || n < 0 {
		return 0, errValidation("Invalid Marker. Pass the Marker of the answer before, unchanged.")
	}
	return n, nil
}

type simulateCustomInput struct{ simulateInput }

type position struct {
	Line   int `xml:"Line"`
	Column int `xml:"Column"`
}

type matchedStatement struct {
	SourcePolicyID   string   `xml:"SourcePolicyId"`
	SourcePolicyType string   `xml:"SourcePolicyType"`
	StartPosition    position `xml:"StartPosition"`
	EndPosition      position `xml:"EndPosition"`
}

type boundaryDetail struct {
	Allowed bool `xml:"AllowedByPermissionsBoundary"`
}

type evaluationResult struct {
	EvalActionName       string             `xml:"EvalActionName"`
	EvalResourceName     string             `xml:"EvalResourceName"`
	EvalDecision         string             `xml:"EvalDecision"`
	MatchedStatements    []matchedStatement `xml:"MatchedStatements>member"`
	MissingContextValues []string           `xml:"MissingContextValues>member"`
	Boundary             *boundaryDetail    `xml:"PermissionsBoundaryDecisionDetail"`
}

type simulateOutput struct {
	EvaluationResults []evaluationResult `xml:"EvaluationResults>member"`
	pageEnd
}

// source is a policy of a simulation and what kind of policy it is, in the API's words.
type source struct {
	*policy.Named
	kind string
}

// simulation is everything that the questions of a request have in common.
type simulation struct {
	in       *simulateInput
	caller   identity.Caller
	sources  []source // policies of the identity
	boundary *policy.Named
	resource *policy.Named
	keys     policy.Context
	wanted   []string // keys that the policies ask for
}

// SimulateCustomPolicy tells what given policies would decide. The caller is taken to be CallerArn, or who asks.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_SimulateCustomPolicy.html.
func (s *Service) SimulateCustomPolicy(_ context.Context, call *wire.Call, in *simulateCustomInput) (*simulateOutput, error) {
	if len(in.PolicyInputList) == 0 {
		return nil, errConstraint("[]", "policyInputList", "Member must not be null")
	}
	sim := &simulation{in: &in.simulateInput, caller: identity.Caller{Type: identity.CallerUser, AccountID: call.Caller.AccountID, ARN: call.Caller.ARN}}
	return s.simulate(sim)
}

type simulatePrincipalInput struct {
	sourceInput
	simulateInput
}

// Validate checks the principal's ARN and the other members.
func (in *simulatePrincipalInput) Validate() error {
	if err := in.sourceInput.Validate(); err != nil {
		return err
	}
	return in.simulateInput.Validate()
}

// SimulatePrincipalPolicy tells what the policies of a user, group or role would decide, its boundary included, together with those that
// are given; a user's groups count. The condition keys that follow from who the principal is are set; the request may give others instead.
// See https://docs.aws.amazon.com/IAM/latest/APIReference/API_SimulatePrincipalPolicy.html.
func (s *Service) SimulatePrincipalPolicy(_ context.Context, _ *wire.Call, in *simulatePrincipalInput) (*simulateOutput, error) {
	sim := &simulation{in: &in.simulateInput}
	if err := s.readPrincipal(in.PolicySourceARN, sim); err != nil {
		return nil, err
	}
	if sim.caller.Session != nil && in.ResourcePolicy != "" {
		return nil, errInvalidInput("ResourcePolicy cannot be simulated for a role.")
	}
	now := s.Now().UTC()
	sim.keys.Set("aws:CurrentTime", now.Format(time.RFC3339))
	sim.keys.Set("aws:EpochTime", strconv.FormatInt(now.Unix(), 10))
	sim.keys.Set("aws:PrincipalAccount", sim.caller.AccountID)
	sim.keys.Set("aws:PrincipalType", string(sim.caller.Type))
	if sim.caller.ARN != "" {
		sim.keys.Set("aws:PrincipalArn", sim.caller.PrincipalARN())
	}
	return s.simulate(sim)
}

// readPrincipal finds a user, group or role with its policies. The session of a role is one of which no more is known, as is the user of
// a group.
func (s *Service) readPrincipal(arn string, sim *simulation) error {
	var all []*policy.Named
	var err error
	kind := "user"
	if user, ok := s.Directory.UserByARN(arn); ok {
		sim.caller = identity.Caller{Type: identity.CallerUser, AccountID: user.AccountID, ARN: arn, UserID: user.ID, UserName: user.Name}
		all, sim.boundary, err = s.Directory.UserPolicies(user)
		sim.keys.SetTags("aws:PrincipalTag/", user.Tags)
		sim.keys.Set("aws:username", user.Name)
		sim.keys.Set("aws:userid", user.ID)
	} else if role, ok := s.Directory.RoleByARN(arn); ok {
		kind = "role"
		session := &identity.Session{RoleARN: arn, RoleID: role.ID, AccountID: role.AccountID, Name: "simulation"}
		sim.caller = identity.Caller{Type: identity.CallerAssumedRole, AccountID: role.AccountID, ARN: session.ARN(), Session: session}
		all, sim.boundary, err = s.Directory.RolePolicies(role)
		sim.keys.SetTags("aws:PrincipalTag/", role.Tags)
	} else if group, ok := s.Directory.GroupByARN(arn); ok {
		sim.caller = identity.Caller{Type: identity.CallerUser, AccountID: group.AccountID}
		all, err = s.Directory.GroupPolicies(group)
	} else {
		return errNoSuchEntity("The entity with ARN %s cannot be found.", arn)
	}
	for _, n := range all {
		sim.sources = append(sim.sources, source{n, sourceKind(n, kind)})
	}
	return err
}

func sourceKind(n *policy.Named, inline string) string {
	switch arn, _ := identity.ParseARN(n.ARN); {
	case n.ARN == "" && n.Group != "":
		return "group"
	case n.ARN == "":
		return inline
	case arn.AccountID == identity.AWSAccount:
		return "aws-managed"
	}
	return "user-managed"
}

// simulate answers the questions of one page: every action on every resource.
func (s *Service) simulate(sim *simulation) (*simulateOutput, error) {
	if err := sim.prepare(); err != nil {
		return nil, err
	}
	in, out := sim.in, &simulateOutput{}
	next, err := in.first()
	if err != nil {
		return nil, err
	}
	begin := s.Now()
	for total := len(in.ActionNames) * len(in.ResourceARNs); next < total; next++ {
		if answered := len(out.EvaluationResults); answered == in.limit() || answered > 0 && s.Now().Sub(begin) > maxSimulationTime {
			out.truncate(strconv.Itoa(next))
			break
		}
		result := sim.evaluate(in.ActionNames[next/len(in.ResourceARNs)], in.ResourceARNs[next%len(in.ResourceARNs)])
		out.EvaluationResults = append(out.EvaluationResults, result)
	}
	return out, nil
}

// prepare compiles the policies of the request and sets its condition keys.
func (sim *simulation) prepare() error {
	in := sim.in
	if in.CallerARN != "" {
		arn, err := identity.ParseARN(in.CallerARN)
		if err != nil || arn.Service != "iam" || !strings.HasPrefix(arn.Resource, "user/") {
			return errInvalidInput("CallerArn %s is not the ARN of an IAM user.", in.CallerARN[:min(len(in.CallerARN), 200)])
		}
		sim.caller = identity.Caller{Type: identity.CallerUser, AccountID: arn.AccountID, ARN: in.CallerARN}
	}
	given, err := parseInputs("PolicyInputList", policy.Identity, in.PolicyInputList)
	if err != nil {
		return err
	}
	for _, n := range given {
		sim.sources = append(sim.sources, source{n, "none"})
	}
	boundaries, err := parseInputs("PermissionsBoundaryPolicyInputList", policy.Boundary, in.PermissionsBoundaryPolicyInputList)
	if err != nil {
		return err
	}
	if len(boundaries) > 0 {
		sim.boundary = boundaries[0]
	}
	if in.ResourcePolicy != "" {
		resource, err := parseInputs("ResourcePolicy", policy.Resource, []string{in.ResourcePolicy})
		if err != nil {
			return err
		}
		sim.resource = resource[0]
	}
	for _, e := range in.ContextEntries {
		if strings.HasSuffix(e.Type, "List") {
			sim.keys.SetMany(e.Key, e.Values...)
		} else {
			sim.keys.Set(e.Key, e.Values[0])
		}
	}
	all := []*policy.Named{}
	for _, n := range sim.sources {
		all = append(all, n.Named)
	}
	sim.wanted = contextKeys(append(all, sim.boundary, sim.resource)...)
	return nil
}

// parseInputs compiles policies that are given in a request; people know them by the member and its number.
func parseInputs(member string, kind policy.Kind, texts []string) ([]*policy.Named, error) {
	var named []*policy.Named
	for i, text := range texts {
		name := member + "." + strconv.Itoa(i+1)
		p, err := policy.Parse(kind, text)
		if err != nil {
			return nil, errInvalidInput("%s: %s", name, err)
		}
		named = append(named, &policy.Named{Name: name, Policy: p})
	}
	return named, nil
}

func (sim *simulation) evaluate(action, resource string) evaluationResult {
	req := &policy.Request{Action: action, Resource: resource, Principal: policy.Principal{Caller: &sim.caller}, Context: &sim.keys}
	inputs := &policy.Inputs{Boundary: sim.boundary, Resource: sim.resource, SameAccount: sim.sameAccount(resource)}
	for _, n := range sim.sources {
		inputs.Identity = append(inputs.Identity, n.Named)
	}
	decision := policy.Decide(req, inputs)
	result := evaluationResult{EvalActionName: action, EvalResourceName: resource, EvalDecision: "implicitDeny"}
	add := func(n *policy.Named, kind string, effect policy.Effect) {
		if n == nil {
			return
		}
		for _, m := range n.Policy.Matching(req, effect) {
			// The service counts columns from 1 and says the one after the brace.
			result.MatchedStatements = append(result.MatchedStatements, matchedStatement{
				n.Name, kind, position{m.Start.Line, m.Start.Column + 1}, position{m.End.Line, m.End.Column + 1},
			})
		}
	}
	effect := policy.NoMatch
	switch {
	case decision.Allowed:
		result.EvalDecision, effect = "allowed", policy.Allow
	case decision.Explicit:
		result.EvalDecision, effect = "explicitDeny", policy.Deny
		add(sim.boundary, "none", effect)
	}
	for _, n := range sim.sources {
		add(n.Named, n.kind, effect)
	}
	add(sim.resource, "resource", effect)
	for _, key := range sim.wanted {
		if !sim.keys.Has(key) {
			result.MissingContextValues = append(result.MissingContextValues, key)
		}
	}
	if sim.boundary != nil {
		result.Boundary = &boundaryDetail{sim.boundary.Policy.Evaluate(req).Effect == policy.Allow}
	}
	return result
}

// sameAccount tells whether the resource belongs to the caller's account: as ResourceOwner says, else as its ARN does, else yes.
func (sim *simulation) sameAccount(resource string) bool {
	owner := sim.in.ResourceOwner
	if arn, err := identity.ParseARN(owner); err == nil {
		owner = arn.AccountID
	}
	if arn, err := identity.ParseARN(resource); err == nil && owner == "" {
		owner = arn.AccountID
	}
	return !identity.ValidAccountID(owner) || owner == sim.caller.AccountID
}
