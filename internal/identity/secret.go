package identity

import (
	"crypto/subtle"
	"fmt"
	"log/slog"
)

const redacted = "[redacted]"

// Secret is a string that must never be seen: a secret access key, a session token, a service-account token.
// However it is printed, logged or encoded it shows [redacted]; only [Secret.Reveal] gives the value, and only the code that
// puts the value on the wire or derives a key from it may call that.
type Secret string

// Reveal returns the secret itself.
func (s Secret) Reveal() string { return string(s) }

// Equal compares in a time that does not depend on where the values differ.
func (s Secret) Equal(other Secret) bool {
	return subtle.ConstantTimeCompare([]byte(s), []byte(other)) == 1
}

// String returns [redacted].
func (s Secret) String() string { return redacted }

// GoString returns [redacted].
func (s Secret) GoString() string { return redacted }

// Format writes [redacted] for every verb. Without it a wrong verb (%d) would print the value in its complaint.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// LogValue returns [redacted].
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns [redacted], for JSON and every other text encoding.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }
