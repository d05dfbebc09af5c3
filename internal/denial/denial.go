// Package denial seals why a request was denied into a message, which goes to whoever was denied and can be read by those of the same
// account who may do sts:DecodeAuthorizationMessage: the explanation repeats policies that the one who asked may not see.
package denial

import (
	"bytes"
	"compress/flate"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/podid/podid/internal/credential"
	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/policy"
)

const (
	// maxMessage keeps a message within the headers that all clients take. STS would take 10,240 characters.
	maxMessage = 4096
	// maxText bounds what a message is unpacked to.
	maxText = 64 << 10
)

// purpose is what messages are sealed for, followed by the account of who was denied.
const purpose = "denial/"

// ErrInvalid is returned for a message that was not sealed here for the account, or that was changed.
var ErrInvalid = errors.New("not a message of this account")

var encoding = base64.RawURLEncoding.Strict()

// Sealer seals and opens messages. It is safe for concurrent use.
type Sealer struct {
	Keyring *credential.Keyring
}

// Seal returns the message about a caller's denial. What does not fit into 4,096 characters is left out, first the explanation, then
// the condition keys of the request, and then the statement that decided.
func (s *Sealer) Seal(caller *identity.Caller, why *policy.Explanation) (string, error) {
	d := describe(caller, why)
	for _, leaveOut := range []func(){
		func() {}, func() { d.Explanation = "" }, func() { d.Context.Conditions = list[key]{} }, func() { d.MatchedStatements = list[statement]{} },
	} {
		leaveOut()
		message, err := s.seal(caller.AccountID, d)
		if err != nil {
			return "", fmt.Errorf("sealing a denial: %w", err)
		}
		if len(message) <= maxMessage {
			return message, nil
		}
	}
	return "", nil // of a resource with an enormous name
}

func (s *Sealer) seal(accountID string, d *decoded) (string, error) {
	text, err := json.Marshal(d)
	if err != nil {
		return "", err
	}
	packed, err := pack(text)
	if err != nil {
		return "", err
	}
	if encoding.EncodedLen(len(packed)) > maxMessage {
		return string(make([]byte, maxMessage+1)), nil // too long, so not worth sealing
	}
	box, err := s.Keyring.Seal(purpose+accountID, packed)
	if err != nil {
		return "", err
	}
	return encoding.EncodeToString(box), nil
}

// Open returns the JSON text that was sealed in a message for an account. The error is [ErrInvalid] or a fault.
func (s *Sealer) Open(accountID, message string) (string, error) {
	box, err := encoding.DecodeString(message)
	if err != nil || encoding.EncodedLen(len(box)) != len(message) { // the decoder skips line breaks
		return "", ErrInvalid
	}
	packed, err := s.Keyring.Unseal(purpose+accountID, box)
	if errors.Is(err, credential.ErrInvalid) {
		return "", ErrInvalid
	}
	if err != nil {
		return "", err
	}
	text, err := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(packed)), maxText))
	if err != nil {
		return "", fmt.Errorf("unpacking a denial: %w", err)
	}
	return string(text), nil
}

// packers are kept, since one takes more than half a megabyte.
var packers = sync.Pool{New: func() any {
	w, err := flate.NewWriter(nil, flate.DefaultCompression)
	if err != nil {
		panic("denial: " + err.Error())
	}
	return w
}}

func pack(text []byte) ([]byte, error) {
	w := packers.Get().(*flate.Writer)
	defer packers.Put(w)
	var packed bytes.Buffer
	w.Reset(&packed)
	if _, err := w.Write(text); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return packed.Bytes(), nil
}
