package sts

import (
	"bytes"
	"compress/flate"
	"slices"

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
	var packed bytes.Buffer
	w, err := flate.NewWriter(&packed, flate.BestCompression)
	if err != nil {
		return nil, err
	}
	for _, text := range slices.Concat(s.Policies, s.PolicyARNs) {
		if _, err := w.Write([]byte(text)); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	what := "session tags"
	if restricted {
		size, what = size+packed.Len(), "session policies and session tags"
	}
	percent := max(size*100/packedLimit, 1)
	if percent > 100 {
		return nil, errPackedPolicyTooLarge(what, percent)
	}
	return &percent, nil
}
