package eks

import (
	"encoding/base64"
	"strings"
)

// nextTokenPurpose keeps paging tokens and other sealed things apart.
const nextTokenPurpose = "eks/next-token"

// position is where a list operation goes on, and how far.
type position struct {
	after string // last key of the page before; "" at the start
	limit int
}

// openPage reads the paging members of a list operation. The token is sealed, since a client must not be able to make one that
// reads behind what its filter shows it, and belongs to one list: the same operation with the same filter.
func (s *Service) openPage(list string, maxResults *int32, token string) (position, error) {
	at := position{limit: 100}
	if maxResults != nil {
		if *maxResults < 1 || *maxResults > 100 {
			return at, errInvalidParameter("maxResults is %d; it must be between 1 and 100.", *maxResults)
		}
		at.limit = int(*maxResults)
	}
	if token == "" {
		return at, nil
	}
	sealed, err := base64.RawURLEncoding.DecodeString(token)
	if err == nil {
		sealed, err = s.Keyring.Unseal(nextTokenPurpose, sealed)
	}
	of, after, _ := strings.Cut(string(sealed), "\x00")
	if err != nil || of != list {
		return at, errInvalidParameter("nextToken is invalid. Pass the nextToken of the answer before, with the same filter.")
	}
	at.after = after
	return at, nil
}

func (s *Service) nextToken(list, lastKey string) (*string, error) {
	sealed, err := s.Keyring.Seal(nextTokenPurpose, []byte(list+"\x00"+lastKey))
	if err != nil {
		return nil, err
	}
	token := base64.RawURLEncoding.EncodeToString(sealed)
	return &token, nil
}
