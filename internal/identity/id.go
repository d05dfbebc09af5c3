package identity

import (
	"encoding/base32"
	"encoding/hex"
	"fmt"
	"io"
	"strconv"
)

// IDKind is the four-letter prefix that tells what a unique id names.
// See https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html#identifiers-unique-ids.
type IDKind string

// The kinds podid makes.
const (
	RoleID             IDKind = "AROA"
	UserID             IDKind = "AIDA"
	GroupID            IDKind = "AGPA"
	PolicyID           IDKind = "ANPA"
	LongTermAccessKey  IDKind = "AKIA"
	TemporaryAccessKey IDKind = "ASIA"
)

// NewID makes a unique id for an IAM entity of an account: 21 characters, or 20 for an access key. As in AWS, the account can
// be read back from it ([AccountOfID]). It panics if the random source fails, which crypto/rand's never does.
func NewID(random io.Reader, kind IDKind, accountID string) string {
	length := 21
	if kind == LongTermAccessKey || kind == TemporaryAccessKey {
		length = 20
	}
	account, err := strconv.ParseUint(accountID, 10, 64)
	if err != nil {
		panic("identity: account id " + strconv.Quote(accountID) + " is not a number")
	}
	n := account/2 + 1<<39
	var head [5]byte
	for i := range head {
		head[i] = byte(n >> (8 * (4 - i)))
	}
	id := []byte(string(kind) + base32.StdEncoding.EncodeToString(head[:]))
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
	tail := randomBytes(random, length-len(id))
	for i, b := range tail {
		c := b & 31
		if i == 0 { // the first character carries the account's lowest bit: A–P even, Q–7 odd
			c = b&15 | byte(account&1)<<4
		}
		id = append(id, alphabet[c])
	}
	return string(id)
}

// AccountOfID reads the account out of a unique id or access key id; ok is false where the id cannot hold one.
func AccountOfID(id string) (accountID string, ok bool) {
	if len(id) < 20 {
		return "", false
	}
	raw, err := base32.StdEncoding.DecodeString(id[4:20])
	if err != nil {
		return "", false
	}
	var n uint64
	for _, b := range raw[:6] {
		n = n<<8 | uint64(b)
	}
	account := n & 0x7fffffffff80 >> 7
	if account > 999_999_999_999 {
		return "", false
	}
	return fmt.Sprintf("%012d", account), true
}

// AccountOfAccessKey reads the account out of an access key id. Ids that AWS gave out before accounts were in them do not have the bit
// that all ids since have.
func AccountOfAccessKey(id string) (accountID string, ok bool) {
	kind := IDKind(id[:min(len(id), 4)])
	if len(id) != 20 || kind != LongTermAccessKey && kind != TemporaryAccessKey || id[4] >= 'A' && id[4] < 'Q' {
		return "", false
	}
	return AccountOfID(id)
}

// ValidAccessKeyID tells whether s may be an access key id: 16 to 128 letters, digits and underscores.
func ValidAccessKeyID(s string) bool {
	return 16 <= len(s) && len(s) <= 128 && only(s, func(c byte) bool { return alphanumeric(c) || c == '_' })
}

// NewAssociationID makes the id of a pod identity association: "a-" and seventeen lower-case letters and digits.
func NewAssociationID(random io.Reader) string {
	const alphabet = "abcdefghijklmnopqrstuvwxyz0123456789"
	return "a-" + randomString(random, alphabet, 17)
}

// ValidAssociationID tells whether s has the form of an association id.
func ValidAssociationID(s string) bool {
	return len(s) == 19 && s[:2] == "a-" &&
		only(s[2:], func(c byte) bool { return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' })
}

// NewIssuerID makes the id of a cluster's OIDC issuer: 32 upper-case hexadecimal digits, as in
// https://oidc.eks.us-west-2.amazonaws.com/id/D43CF17C27A865933144EA99A26FB128.
func NewIssuerID(random io.Reader) string {
	return randomString(random, "0123456789ABCDEF", 32)
}

// NewSecretAccessKey makes a secret access key: 40 characters, 238 random bits.
func NewSecretAccessKey(random io.Reader) Secret {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789/+"
	return Secret(randomString(random, alphabet, 40))
}

// NewUUID makes a random (version 4) UUID.
func NewUUID(random io.Reader) string {
	b := randomBytes(random, 16)
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	s := make([]byte, 36)
	hex.Encode(s[0:8], b[0:4])
	hex.Encode(s[9:13], b[4:6])
	hex.Encode(s[14:18], b[6:8])
	hex.Encode(s[19:23], b[8:10])
	hex.Encode(s[24:36], b[10:16])
	s[8], s[13], s[18], s[23] = '-', '-', '-', '-'
	return string(s)
}

// randomString draws from an alphabet without bias: bytes beyond its largest multiple are thrown away.
func randomString(random io.Reader, alphabet string, length int) string {
	limit := 256 - 256%len(alphabet)
	s := make([]byte, 0, length)
	for len(s) < length {
		for _, b := range randomBytes(random, length-len(s)) {
			if int(b) < limit {
				s = append(s, alphabet[int(b)%len(alphabet)])
			}
		}
	}
	return string(s)
}

func randomBytes(random io.Reader, n int) []byte {
	b := make([]byte, n)
	if _, err := io.ReadFull(random, b); err != nil {
		panic("identity: reading random bytes: " + err.Error())
	}
	return b
}
