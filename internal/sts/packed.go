package sts

import (
	"bytes"
	"compress/flate"
	"slices"
	"sync"

	"github.com/podid/podid/internal/identity"
)

// packedLimit is how many bytes session tags and session policies may have together once packed. How AWS packs is not published;
// with this limit and the packing below, the six tags of EKS Pod Identity with long names come out at the 74 % that its users see.
const packedLimit = 520

// packedSize is how much of the allotted space a session's tags and policies use, in percent; nil for a session without any.
// Tags count as they are, policies compressed, and of managed ones the ARNs.
func packedSize(s *identity.Session) (*int, error) {
	restricted := len(s.Policies) > 0 || len(s.PolicyARNs) > 0
	if len(s.Tags) == 0 && !restricted {
		return nil, nil
	}
	size := 0
	for _, tag := range s.Tags {
		size += len(tag.Key) + len(tag.Value)
	}
	what := "session tags"
	if restricted {
		packed, err := deflated(slices.Concat(s.Policies, s.PolicyARNs))
		if err != nil {
			return nil, err
		}
		size, what = size+packed, "session policies and session tags"
	}
	percent := max(size*100/packedLimit, 1)
	if percent > 100 {
		return nil, errPackedPolicyTooLarge(what, percent)
	}
	return &percent, nil
}

// packers are kept, since one takes more than half a megabyte.
var packers = sync.Pool{New: func() any {
	w, err := flate.NewWriter(nil, flate.BestCompression)
	if err != nil {
		panic("sts: " + err.Error())
	}
	return w
}}

// deflated is the size of texts, compressed together.
func deflated(texts []string) (int, error) {
	w := packers.Get().(*flate.Writer)
	defer packers.Put(w)
	var packed bytes.Buffer
	w.Reset(&packed)
	for _, text := range texts {
		if _, err := w.Write([]byte(text)); err != nil {
			return 0, err
		}
	}
	err := w.Close()
	return packed.Len(), err
}
