package policy

import (
	"fmt"
	"strconv"
	"strings"
)

// All that podid says about a decision is worded here: the messages of the APIs, the reasons in the audit log, what can-i prints.

// kindTexts are the kinds as AWS's denials name them.
var kindTexts = [...]struct{ article, name string }{
	Identity: {"an", "identity-based policy"},
	Boundary: {"a", "permissions boundary"},
	Session:  {"a", "session policy"},
	Resource: {"a", "resource-based policy"},
	Trust:    {"the", "role trust policy"},
}

// String names the kind as AWS's denials do: "identity-based policy".
func (k Kind) String() string { return kindTexts[k].name }

// Reason is the end of AWS's denial: "because no identity-based policy allows the s3:PutObject action", or "with an explicit deny in
// a permissions boundary". It is empty if the request is allowed.
// See https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html.
func (d Decision) Reason() string {
	switch {
	case d.Allowed:
		return ""
	case d.Explicit:
		return "with an explicit deny in " + kindTexts[d.Cause].article + " " + d.Cause.String()
	}
	return "because no " + d.Cause.String() + " allows the " + d.Action + " action"
}

// Message is AWS's whole denial. callerARN is the caller as GetCallerIdentity prints it.
func (d Decision) Message(callerARN string) string {
	return "User: " + callerARN + " is not authorized to perform: " + d.Action + " on resource: " + d.Resource + " " + d.Reason()
}

// Refusal is the denial without the caller: "sts:TagSession on arn:aws:iam::111122223333:role/web is refused because no …".
func (d Decision) Refusal() string {
	return d.Action + " on " + d.Resource + " is refused " + d.Reason()
}

// String puts a failure in one line, such as:
//
//	condition StringEquals aws:PrincipalTag/kubernetes-namespace: want "carts", request has "orders"
func (f Failure) String() string {
	name := f.Element
	if f.Element == "Condition" {
		name = "condition " + f.Operator + " " + f.Key
	}
	seen := "does not have the key"
	if len(f.Seen) > 0 {
		seen = "has " + quoteAll(f.Seen, " and ")
	}
	want := "want "
	if strings.HasPrefix(f.Element, "Not") || strings.Contains(f.Operator, "Not") {
		want = "want other than "
	}
	return name + ": " + want + quoteAll(f.Want, " or ") + ", request " + seen
}

// quoteAll quotes each text, for they may hold line breaks and control characters.
func quoteAll(texts []string, separator string) string {
	if len(texts) == 0 {
		return "nothing"
	}
	quoted := make([]string, len(texts))
	for i, t := range texts {
		quoted[i] = fmt.Sprintf("%q", t)
	}
	return strings.Join(quoted, separator)
}

// String names the statement for people: statement 2 "ReadOnly" (line 7, column 5).
func (s *Statement) String() string {
	sid := ""
	if s.Sid != "" {
		sid = fmt.Sprintf(" %q", s.Sid)
	}
	return fmt.Sprintf("statement %d%s (line %d, column %d)", s.Number, sid, s.Start.Line, s.Start.Column)
}

// String explains the decision in a few lines of text, without a line break at the end.
func (e Explanation) String() string {
	d := e.Decision
	var b strings.Builder
	switch {
	case d.Allowed && d.Policy == nil:
		b.WriteString("allowed: the root user needs no policy")
	case d.Allowed:
		fmt.Fprintf(&b, "allowed by %s %s, %s", d.Cause, d.Policy, d.Statement)
	case d.Explicit:
		fmt.Fprintf(&b, "denied by %s %s, %s", d.Cause, d.Policy, d.Statement)
	default:
		fmt.Fprintf(&b, "denied %s", d.Reason())
		if len(e.Candidates) == 0 {
			fmt.Fprintf(&b, "\n  there is no %s with an Allow statement", d.Cause)
		}
	}
	for _, c := range e.Candidates {
		fmt.Fprintf(&b, "\n  %s, %s:", c.Policy, c.Statement)
		for _, f := range c.Failures {
			b.WriteString("\n    " + f.String())
		}
	}
	return b.String()
}

// String explains the step as [Explanation.String] does.
func (s *Step) String() string {
	if d := s.Decision; !d.Allowed && !d.Explicit && !s.Needed {
		return "no " + d.Cause.String() + " allows the " + d.Action + " action, and none needs to"
	}
	return s.Explanation.String()
}

// String names the policy for people: "read" of group "developers".
func (n *Named) String() string {
	if n.Group == "" {
		return strconv.Quote(n.Name)
	}
	return strconv.Quote(n.Name) + " of group " + strconv.Quote(n.Group)
}
