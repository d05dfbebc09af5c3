package denial

import (
	"encoding/json"
	"strconv"
	"strings"

	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/policy"
)

// decoded is a message as AWS spells it, with an explanation that AWS does not have.
// See https://docs.aws.amazon.com/STS/latest/APIReference/API_DecodeAuthorizationMessage.html.
type decoded struct {
	Allowed           bool            `json:"allowed"`
	ExplicitDeny      bool            `json:"explicitDeny"`
	MatchedStatements list[statement] `json:"matchedStatements"` // the Deny statement that decided
	Failures          list[string]    `json:"failures"`          // always empty
	Context           requestContext  `json:"context"`
	Explanation       string          `json:"explanation,omitempty"`
}

type statement struct {
	ID              string      `json:"statementId"` // the Sid, or the number
	Effect          string      `json:"effect"`
	Policy          string      `json:"policy"` // ARN or name; AWS does not have it
	Principals      list[value] `json:"principals"`
	PrincipalGroups list[value] `json:"principalGroups"` // always empty
	Actions         list[value] `json:"actions"`
	Resources       list[value] `json:"resources"`
	Conditions      list[key]   `json:"conditions"`
}

type requestContext struct {
	Principal struct {
		ID  string `json:"id"`
		ARN string `json:"arn"`
	} `json:"principal"`
	Action     string    `json:"action"`
	Resource   string    `json:"resource"`
	Conditions list[key] `json:"conditions"`
}

type key struct {
	Key    string      `json:"key"`
	Values list[value] `json:"values"`
}

type value struct {
	Value string `json:"value"`
}

// list is a list as AWS nests it: {"items":[…]}.
type list[T any] []T

// MarshalJSON writes an empty list too.
func (l list[T]) MarshalJSON() ([]byte, error) {
	if l == nil {
		l = list[T]{}
	}
	return json.Marshal(map[string][]T{"items": l})
}

func describe(caller *identity.Caller, why *policy.Explanation) *decoded {
	d := &decoded{Allowed: why.Decision.Allowed, ExplicitDeny: why.Decision.Explicit, Explanation: why.String()}
	d.Context.Principal.ID, d.Context.Principal.ARN = caller.UserID, caller.ARN
	d.Context.Action, d.Context.Resource, d.Context.Conditions = why.Decision.Action, why.Decision.Resource, keysOf(why.Keys)
	if named := why.Decision.Policy; named != nil && why.Decision.Statement != nil {
		s := named.Policy.Describe(why.Decision.Statement)
		out := statement{
			ID: s.Sid, Effect: strings.ToUpper(s.Effect.String()), Policy: named.ARN, Principals: valuesOf(s.Principals),
			Actions: valuesOf(s.Actions), Resources: valuesOf(s.Resources), Conditions: keysOf(s.Conditions),
		}
		if out.ID == "" {
			out.ID = strconv.Itoa(s.Number)
		}
		if out.Policy == "" {
			out.Policy = named.Name
		}
		d.MatchedStatements = list[statement]{out}
	}
	return d
}

func keysOf(keys []policy.Key) list[key] {
	var out list[key]
	for _, k := range keys {
		out = append(out, key{k.Name, valuesOf(k.Values)})
	}
	return out
}

func valuesOf(texts []string) list[value] {
	var out list[value]
	for _, text := range texts {
		out = append(out, value{text})
	}
	return out
}
