package eksauth

import (
	"strings"

	"github.com/podid/podid/internal/identity"
)

const (
	maxScanned = 256 // associations of a namespace that are compared with a name; the first ones in their order
	maxEdits   = 3   // letters in which a name may differ and still look like a slip
)

// nearest says what else there is in the pod's namespace, to be added to the message that there is no association: the association
// of the service account whose name is nearest, if there is one that somebody may have meant.
//
// The message reaches the pod. It names nothing outside the pod's own namespace, for a pod of one tenant must not be able to find
// out, name by name, what the others have.
func (s *Service) nearest(cluster string, sa identity.ServiceAccount) string {
	prefix := cluster + "/" + sa.Namespace + "/"
	best, edits, scanned := "", maxEdits+2, 0
	for key := range s.Directory.ScanAssociations(prefix, "") {
		if scanned++; scanned > maxScanned {
			break
		}
		name := strings.TrimPrefix(key, prefix)
		if n := difference(sa.Name, name); n < edits {
			best, edits = name, n
		}
	}
	switch {
	case scanned == 0:
		return " The namespace has no associations in this cluster."
	case best == "":
		return ""
	}
	return " The nearest is that of " + sa.Namespace + "/" + best + "."
}

// difference counts the letters that have to be added, dropped or replaced to make one name of another. It is maxEdits+1 for names
// one of which goes on after a dash where the other ends, such as cart and cart-service, and maxEdits+2 for those that are too
// different to be one.
func difference(a, b string) int {
	if len(a) > len(b) {
		a, b = b, a
	}
	far := maxEdits + 2
	if strings.HasPrefix(b, a+"-") || strings.HasSuffix(b, "-"+a) {
		far = maxEdits + 1
	}
	if len(b)-len(a) > maxEdits {
		return far
	}
	// before[i] is the difference of a[:i] and what has been seen of b.
	before, now := make([]int, len(a)+1), make([]int, len(a)+1)
	for i := range before {
		before[i] = i
	}
	for j := range len(b) {
		now[0] = j + 1
		least := now[0]
		for i := range len(a) {
			replaced := before[i]
			if a[i] != b[j] {
				replaced++
			}
			now[i+1] = min(replaced, before[i+1]+1, now[i]+1)
			least = min(least, now[i+1])
		}
		if least > maxEdits {
			return far
		}
		before, now = now, before
	}
	// Short names differ in few letters and have nothing in common all the same.
	if n := before[len(a)]; n <= maxEdits && 2*n < len(b) {
		return n
	}
	return far
}
