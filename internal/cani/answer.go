package cani

import (
	"fmt"
	"slices"
	"strings"

	"github.com/podid/podid/internal/policy"
)

// Verdict is the answer to a question, or to a part of it.
type Verdict string

// The verdicts.
const (
	Allowed  Verdict = "allowed"
	Denied   Verdict = "denied"
	Unknown  Verdict = "unknown"  // a fact that it depends on could not be established
	Unneeded Verdict = "unneeded" // of a link only: it does not allow, and another one makes up for it
)

// Link is one of the things that must hold: the association, the role's trust policy, its permissions, and so on. Links of the same
// name are the two sides of one thing.
type Link struct {
	Name        string   `json:"name"` // association, trust policy, target role, permissions, session policy, …
	Of          string   `json:"of"`   // ARN of the role, policy or resource; id of the association
	Verdict     Verdict  `json:"verdict"`
	Why         string   `json:"why"`                   // for people; denials have several lines
	Policy      string   `json:"policy,omitempty"`      // name of the policy that decided
	Statement   int      `json:"statement,omitempty"`   // of the policy that decided, from 1
	MissingKeys []string `json:"missingKeys,omitempty"` // condition keys that an Allow asks for, and the request does not have

	MissingPermissions []string `json:"missingPermissions,omitempty"` // of whoever asks, without which it is not known: iam:GetRole
}

// Answer is a verdict and the path to it.
type Answer struct {
	Verdict        Verdict `json:"verdict"`
	Action         string  `json:"action"`
	Resource       string  `json:"resource"`
	Cluster        string  `json:"cluster,omitempty"`
	Namespace      string  `json:"namespace,omitempty"`
	ServiceAccount string  `json:"serviceAccount,omitempty"`
	Association    string  `json:"association,omitempty"` // its id
	Principal      string  `json:"principal,omitempty"`   // ARN, if the question is about one and not about a pod
	Role           string  `json:"role,omitempty"`        // ARN of the role whose session does it in the end
	Path           []Link  `json:"path"`                  // in the order in which a real exchange and request meet them

	NotLookedAt []string `json:"notLookedAt"` // what might say otherwise
}

func newAnswer(req *Request) *Answer {
	return &Answer{
		Verdict: Allowed, Action: req.Action, Resource: req.Resource,
		NotLookedAt: []string{"policies of organizations and of network endpoints"},
	}
}

// add takes in links. One that is known to be broken decides; else one that is not known does.
func (a *Answer) add(links ...Link) {
	a.Path = append(a.Path, links...)
	for _, link := range links {
		if link.Verdict == Denied || link.Verdict == Unknown && a.Verdict == Allowed {
			a.Verdict = link.Verdict
		}
	}
}

// Broken returns the first link that is denied or, if none is, the first that is not known; nil if all hold.
func (a *Answer) Broken() *Link {
	i := slices.IndexFunc(a.Path, func(l Link) bool { return l.Verdict == a.Verdict })
	if a.Verdict == Allowed || i < 0 {
		return nil
	}
	return &a.Path[i]
}

// unknown makes the link one that could not be established.
func (l *Link) unknown(err error) {
	l.Verdict, l.Why, l.MissingPermissions = Unknown, err.Error(), missingPermissions(err)
}

// conclude fills in what the policies of a kind say. err is why some of them could not be read: only a Deny of the others stands then.
func (l *Link) conclude(step *policy.Step, err error) {
	d := step.Decision
	if err != nil && !d.Explicit {
		l.unknown(err)
		return
	}
	l.Why = step.String()
	switch {
	case d.Allowed:
		l.Verdict = Allowed
	case d.Explicit || step.Needed:
		l.Verdict = Denied
	default:
		l.Verdict = Unneeded
	}
	if d.Policy != nil {
		l.Policy, l.Statement = d.Policy.Name, d.Statement.Number
	}
	for _, c := range step.Candidates {
		for _, f := range c.Failures {
			if f.Element == "Condition" && len(f.Seen) == 0 && !slices.Contains(l.MissingKeys, f.Key) {
				l.MissingKeys = append(l.MissingKeys, f.Key)
			}
		}
	}
}

// String tells the answer in lines of text: the verdict, the first broken link with its explanation, and the whole path. It ends with
// a line break.
func (a *Answer) String() string {
	var b strings.Builder
	may := map[Verdict]string{Allowed: "may", Denied: "may not", Unknown: "may or may not"}[a.Verdict]
	fmt.Fprintf(&b, "%s: %s %s do %s on %s\n", a.Verdict, a.who(), may, a.Action, a.Resource)
	broken := a.Broken()
	if broken != nil {
		fmt.Fprintf(&b, "\n%s of %s\n  %s\n", broken.Name, broken.Of, strings.ReplaceAll(broken.Why, "\n", "\n  "))
		if len(broken.MissingKeys) > 0 {
			fmt.Fprintf(&b, "  If the request has %s, say so with --context KEY=VALUE.\n", strings.Join(broken.MissingKeys, " and "))
		}
	}
	b.WriteString("\nPath:\n")
	for i := range a.Path {
		link := &a.Path[i]
		mark := map[Verdict]string{Allowed: "✓", Denied: "✗", Unknown: "?", Unneeded: "–"}[link.Verdict]
		why, _, _ := strings.Cut(link.Why, "\n")
		if link == broken {
			why = "see above"
		}
		fmt.Fprintf(&b, "  %s %s of %s: %s\n", mark, link.Name, link.Of, why)
	}
	if len(a.NotLookedAt) > 0 {
		fmt.Fprintf(&b, "\nNot looked at: %s.\n", strings.Join(a.NotLookedAt, "; "))
	}
	return b.String()
}

func (a *Answer) who() string {
	if a.ServiceAccount == "" {
		return a.Principal
	}
	return a.Namespace + "/" + a.ServiceAccount + " of cluster " + a.Cluster
}
