package identity

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// ValidAccountID tells whether s is an AWS account id: twelve digits.
func ValidAccountID(s string) bool {
	return len(s) == 12 && only(s, func(c byte) bool { return '0' <= c && c <= '9' })
}

// ValidClusterName tells whether s may name a cluster: 1 to 100 characters ^[0-9A-Za-z][A-Za-z0-9\-_]*$.
func ValidClusterName(s string) bool {
	return 1 <= len(s) && len(s) <= 100 && alphanumeric(s[0]) &&
		only(s, func(c byte) bool { return alphanumeric(c) || c == '-' || c == '_' })
}

// ValidNamespace tells whether s may name a Kubernetes namespace: an RFC 1123 label of at most 63 characters.
// See https://kubernetes.io/docs/concepts/overview/working-with-objects/names/#dns-label-names.
func ValidNamespace(s string) bool { return len(s) <= 63 && validLabel(s) }

// ValidServiceAccountName tells whether s may name a Kubernetes service account: an RFC 1123 subdomain of at most 253 characters.
func ValidServiceAccountName(s string) bool {
	if len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if !validLabel(label) {
			return false
		}
	}
	return true
}

func validLabel(s string) bool {
	ok := func(c byte) bool { return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' }
	return s != "" && ok(s[0]) && ok(s[len(s)-1]) && only(s, func(c byte) bool { return ok(c) || c == '-' })
}

// ValidIAMName tells whether s may name an IAM entity: 1 to limit characters of [\w+=,.@-].
func ValidIAMName(s string, limit int) bool {
	return 1 <= len(s) && len(s) <= limit && only(s, sessionNameByte)
}

// ValidIAMPath tells whether s may be an IAM path: "/" or "/…/", at most 512 printable ASCII characters.
func ValidIAMPath(s string) bool {
	return 1 <= len(s) && len(s) <= 512 && s[0] == '/' && s[len(s)-1] == '/' && !strings.Contains(s, "//") &&
		only(s, func(c byte) bool { return 0x21 <= c && c <= 0x7e })
}

// ValidSessionName tells whether s may name a role session or a source identity: 2 to 64 characters of [\w+=,.@-].
func ValidSessionName(s string) bool {
	return 2 <= len(s) && len(s) <= 64 && only(s, sessionNameByte)
}

// ValidFederatedUserName tells whether s may name a federated user: 2 to 32 characters of [\w+=,.@-].
func ValidFederatedUserName(s string) bool { return ValidSessionName(s) && len(s) <= 32 }

// ValidTagText tells whether s, a tag's key or value, has only characters that tags may have: letters, digits, white space and
// _ . : / = + - @. The length is counted in characters and checked by the caller, since limits differ between key and value.
// See https://docs.aws.amazon.com/IAM/latest/UserGuide/id_tags.html.
func ValidTagText(s string) bool {
	if !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if !unicode.In(r, unicode.L, unicode.Z, unicode.N) && !strings.ContainsRune("_.:/=+-@", r) {
			return false
		}
	}
	return true
}

func sessionNameByte(c byte) bool {
	return alphanumeric(c) || strings.IndexByte("_+=,.@-", c) >= 0
}

func alphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

func only(s string, ok func(byte) bool) bool {
	for i := range len(s) {
		if !ok(s[i]) {
			return false
		}
	}
	return true
}
