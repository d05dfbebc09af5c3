package policy

import (
	"encoding/json"
	"slices"
	"strings"
)

// Pinned returns the policy with users and roles meant by their unique ids, which ids has by their ARNs: whoever is made later under the
// same ARN is somebody else. Principals whose ARN is not there stay as they are.
// See https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_principal.html#principal-roles.
func (p *Policy) Pinned(ids map[string]string) *Policy {
	if len(ids) == 0 {
		return p
	}
	pinned := *p
	pinned.statements = slices.Clone(p.statements)
	for i, s := range p.statements {
		if s.principals != nil {
			other := *s
			other.principals = s.principals.pinned(ids)
			pinned.statements[i] = &other
		}
	}
	return &pinned
}

func (p *principals) pinned(ids map[string]string) *principals {
	pinned := *p
	pinned.arns, pinned.ids, pinned.texts = nil, slices.Clone(p.ids), slices.Clone(p.texts)
	for _, arn := range p.arns {
		id, ok := ids[arn]
		if !ok {
			pinned.arns = append(pinned.arns, arn)
			continue
		}
		pinned.ids = append(pinned.ids, id)
		if i := slices.Index(pinned.texts, "AWS "+arn); i >= 0 {
			pinned.texts[i] += " (" + id + ")" // else a denial wants the very ARN that it says has asked
		}
	}
	return &pinned
}

// ReplacePrincipals returns a document in which others stand for its AWS principals: for each the one that is replace's answer. All else,
// white space included, stays as it is. The document must be one that [Parse] takes.
func ReplacePrincipals(document string, replace func(principal string) string) (string, error) {
	root, err := decode(newSource(document))
	if err != nil {
		return "", err
	}
	var b strings.Builder
	written := 0
	for _, value := range awsPrincipals(root) {
		other := replace(value.text)
		if other == value.text {
			continue
		}
		quoted, err := json.Marshal(other)
		if err != nil {
			return "", err
		}
		b.WriteString(document[written:value.start])
		b.Write(quoted)
		written = value.end
	}
	b.WriteString(document[written:])
	return b.String(), nil
}

// awsPrincipals returns the values of {"Principal":{"AWS":…}} and of NotPrincipal in the order of the document.
func awsPrincipals(root *node) (values []*node) {
	for _, statement := range root.member("Statement").each() {
		for _, m := range statement.members {
			if m.name == "Principal" || m.name == "NotPrincipal" {
				values = append(values, m.value.member("AWS").each()...)
			}
		}
	}
	return values
}

// each returns the items of a list, or a single value as the only one; nothing for nil.
func (n *node) each() []*node {
	switch {
	case n == nil:
		return nil
	case n.kind == list:
		return n.items
	}
	return []*node{n}
}
