package denial_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/podid/podid/internal/credential"
	"github.com/podid/podid/internal/denial"
	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/policy"
)

const account = "111122223333"

var caller = &identity.Caller{
	Type: identity.CallerUser, AccountID: account, ARN: "arn:aws:iam::111122223333:user/Ann", UserID: "AIDARTX3GSDSXGHO2UL2A", UserName: "Ann",
}

func newSealer(t testing.TB) *denial.Sealer {
	t.Helper()
	root, err := credential.LoadOrCreateRootKey(filepath.Join(t.TempDir(), "root.key"))
	if err != nil {
		t.Fatal(err)
	}
	epoch, err := root.NewEpoch(1, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	ring, err := credential.NewKeyring(root, epoch)
	if err != nil {
		t.Fatal(err)
	}
	return &denial.Sealer{Keyring: ring}
}

// deny judges a request by a policy that does not allow it.
func deny(t testing.TB, text, resource string, keys map[string]string) policy.Explanation {
	t.Helper()
	p, err := policy.Parse(policy.Identity, text)
	if err != nil {
		t.Fatal(err)
	}
	context := new(policy.Context)
	for name, value := range keys {
		context.Set(name, value)
	}
	req := &policy.Request{Action: "s3:GetObject", Resource: resource, Principal: policy.Principal{Caller: caller}, Context: context}
	why := policy.Explain(req, &policy.Inputs{Identity: []*policy.Named{{Name: "own", Policy: p}}, SameAccount: true})
	if why.Decision.Allowed {
		t.Fatal("allowed")
	}
	return why
}

// noise is text that cannot be compressed.
func noise(n int) string {
	random := rand.New(rand.NewPCG(1, uint64(n)))
	var text strings.Builder
	for text.Len() < n {
		fmt.Fprintf(&text, "%x", random.Uint64())
	}
	return text.String()[:n]
}

func document(effect, resource string) string {
	return `{"Version":"2012-10-17","Statement":{"Effect":"` + effect + `","Action":"s3:*","Resource":"arn:aws:s3:::` + resource + `"}}`
}

// A message is never longer than 4,096 characters; what is left out is what is easiest had from elsewhere.
func TestSize(t *testing.T) {
	s := newSealer(t)
	keys := map[string]string{"aws:RequestedRegion": "us-west-2"}
	many := map[string]string{}
	for i := range 60 {
		many[fmt.Sprintf("aws:PrincipalTag/%d", i)] = noise(100 + i)
	}
	for name, tt := range map[string]struct {
		why                                 policy.Explanation
		explanation, conditions, statements bool // that are there
		none                                bool
	}{
		"ordinary":           {why: deny(t, document("Allow", "x"), "arn:aws:s3:::y", keys), explanation: true, conditions: true},
		"explicit":           {why: deny(t, document("Deny", "*"), "arn:aws:s3:::y", keys), explanation: true, conditions: true, statements: true},
		"long explanation":   {why: deny(t, document("Allow", noise(5000)), "arn:aws:s3:::y", keys), conditions: true},
		"many keys":          {why: deny(t, document("Deny", "*"), "arn:aws:s3:::y", many), statements: true},
		"long statement":     {why: deny(t, strings.ReplaceAll(document("Deny", "RES"), `"arn:aws:s3:::RES"`, `["*","arn:aws:s3:::`+noise(9000)+`"]`), "arn:aws:s3:::y", keys)},
		"enormous resource":  {why: deny(t, document("Allow", "x"), "arn:aws:s3:::"+noise(9000), keys), none: true},
		"long but repeating": {why: deny(t, document("Allow", strings.Repeat("x", 5000)), "arn:aws:s3:::y", keys), explanation: true, conditions: true},
	} {
		t.Run(name, func(t *testing.T) {
			message, err := s.Seal(caller, &tt.why)
			if err != nil || len(message) > 4096 || (message == "") != tt.none {
				t.Fatalf("%d characters, %v", len(message), err)
			}
			if tt.none {
				return
			}
			text, err := s.Open(account, message)
			if err != nil {
				t.Fatal(err)
			}
			var m struct {
				Explanation       string
				MatchedStatements struct{ Items []any }
				Context           struct {
					Action     string
					Conditions struct{ Items []any }
				}
			}
			if err := json.Unmarshal([]byte(text), &m); err != nil {
				t.Fatal(err)
			}
			if (m.Explanation != "") != tt.explanation || (len(m.Context.Conditions.Items) > 0) != tt.conditions || (len(m.MatchedStatements.Items) > 0) != tt.statements || m.Context.Action != "s3:GetObject" {
				t.Errorf("%.2000s", text)
			}
		})
	}
}

func TestOtherAccount(t *testing.T) {
	s := newSealer(t)
	why := deny(t, document("Allow", "x"), "arn:aws:s3:::y", nil)
	message, err := s.Seal(caller, &why)
	if err != nil {
		t.Fatal(err)
	}
	for name, open := range map[string]func() (string, error){
		"other account": func() (string, error) { return s.Open("444455556666", message) },
		"other keys":    func() (string, error) { return newSealer(t).Open(account, message) },
		"padded":        func() (string, error) { return s.Open(account, message+"=") },
		"line break":    func() (string, error) { return s.Open(account, message+"\n") },
		"empty":         func() (string, error) { return s.Open(account, "") },
	} {
		if text, err := open(); !errors.Is(err, denial.ErrInvalid) {
			t.Errorf("%s: %q %v", name, text, err)
		}
	}
}

func BenchmarkSeal(b *testing.B) {
	s := newSealer(b)
	why := deny(b, document("Allow", "x"), "arn:aws:s3:::y", map[string]string{
		"aws:RequestedRegion": "us-west-2", "aws:PrincipalArn": caller.ARN, "aws:userid": caller.UserID, "aws:SourceIp": "127.0.0.1",
		"aws:UserAgent": "aws-cli/2.31.0 md/awscrt#0.27.6 ua/2.1 os/linux", "aws:SecureTransport": "false", "aws:PrincipalType": "User",
	})
	b.ReportAllocs()
	for b.Loop() {
		message, err := s.Seal(caller, &why)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(len(message)), "characters")
	}
}
