package identity

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestSecretNeverShows(t *testing.T) {
	type holder struct{ Key Secret }
	h := holder{Key: "hunter2"}
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("made", "key", h.Key, "holder", h)
	encoded, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	shown := []string{log.String(), string(encoded), fmt.Errorf("bad key %w %v", ErrARN, h.Key).Error()}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%c"} {
		shown = append(shown, fmt.Sprintf(verb, h), fmt.Sprintf(verb, h.Key), fmt.Sprintf(verb, &h))
	}
	for _, s := range shown {
		if strings.Contains(s, "hunter2") || strings.Contains(s, fmt.Sprintf("%x", "hunter2")) {
			t.Errorf("secret shows in %q", s)
		}
	}
	if h.Key.Reveal() != "hunter2" || !h.Key.Equal("hunter2") || h.Key.Equal("hunter3") {
		t.Error("Reveal or Equal is wrong")
	}
}

func TestAccountInIDs(t *testing.T) {
	if got, _ := AccountOfID("ASIARTX3GSDSXGHO2UL2"); got != "111122223333" {
		t.Errorf("account of the published example: got %q, want 111122223333", got)
	}
	for _, account := range []string{"111122223333", "444455556666", "000000000000", "000000000001", "999999999999"} {
		for kind, length := range map[IDKind]int{RoleID: 21, UserID: 21, PolicyID: 21, LongTermAccessKey: 20, TemporaryAccessKey: 20} {
			id := NewID(rand.Reader, kind, account)
			if got, ok := AccountOfID(id); !ok || got != account || len(id) != length {
				t.Errorf("%s id %s: account %q of %d characters, want %s of %d", kind, id, got, len(id), account, length)
			}
		}
	}
	for _, id := range []string{"", "ASIA", "AKIAIOSFODNN7EXAMPL!"} {
		if got, ok := AccountOfID(id); ok {
			t.Errorf("AccountOfID(%q) = %q, want nothing", id, got)
		}
	}
}

func TestIDForms(t *testing.T) {
	for range 100 {
		if id := NewAssociationID(rand.Reader); !ValidAssociationID(id) {
			t.Fatalf("association id %q", id)
		}
	}
	for _, id := range []string{"", "a-", "a-8mvwvh57cu74mgcs", "a-8mvwvh57cu74mgcsT", "b-8mvwvh57cu74mgcst"} {
		if ValidAssociationID(id) {
			t.Errorf("ValidAssociationID(%q) = true", id)
		}
	}
	uuid := NewUUID(rand.Reader)
	if len(uuid) != 36 || uuid[14] != '4' || !strings.ContainsRune("89ab", rune(uuid[19])) || uuid == NewUUID(rand.Reader) {
		t.Errorf("uuid %q", uuid)
	}
	if s := NewSecretAccessKey(rand.Reader); len(s.Reveal()) != 40 {
		t.Errorf("secret of %d characters", len(s.Reveal()))
	}
}

func TestNames(t *testing.T) {
	long := strings.Repeat("a", 300)
	tests := []struct {
		name  string
		valid func(string) bool
		good  []string
		bad   []string
	}{
		{"account", ValidAccountID, []string{"111122223333"}, []string{"", "11112222333", "1111222233334", "11112222333a"}},
		{"cluster", ValidClusterName, []string{"a", "0", "Prod_1-x", long[:100]}, []string{"", "-a", "_a", "a b", "a.b", long[:101], "ä"}},
		{"namespace", ValidNamespace, []string{"a", "kube-system", long[:63]}, []string{"", "A", "-a", "a-", "a.b", "a_b", long[:64]}},
		{"service account", ValidServiceAccountName, []string{"a", "a.b-c", "default"}, []string{"", "A", ".a", "a.", "a..b", "a/b", long}},
		{"path", ValidIAMPath, []string{"/", "/a/", "/a/b/"}, []string{"", "a", "/a", "a/", "//", "/ä/", "/a b/"}},
		{"session", ValidSessionName, []string{"ab", "eks-a_b+=,.@-"}, []string{"a", "a b", "a/b", long[:65]}},
		{"tag", ValidTagText, []string{"", "aé 1_.:/=+-@"}, []string{"a!", "a\x00", "\xff"}},
	}
	for _, tt := range tests {
		for _, s := range tt.good {
			if !tt.valid(s) {
				t.Errorf("%s %q: refused", tt.name, s)
			}
		}
		for _, s := range tt.bad {
			if tt.valid(s) {
				t.Errorf("%s %q: accepted", tt.name, s)
			}
		}
	}
}

func TestRoleARN(t *testing.T) {
	arn, name, err := ParseRoleARN("arn:aws:iam::111122223333:role/team/web")
	if err != nil || name != "web" || arn.AccountID != "111122223333" {
		t.Errorf("got %v %q %v", arn, name, err)
	}
	for _, s := range []string{
		"", "web", "arn:aws:iam::111122223333:user/web", "arn:aws:sts::111122223333:assumed-role/web/s",
		"arn:aws:iam::11112222333:role/web", "arn:aws:iam:us-west-2:111122223333:role/web", "arn:aws:iam::111122223333:role/",
		"arn:aws:iam::111122223333:role/web\n", "arn:aws:iam::111122223333:role",
	} {
		if _, _, err := ParseRoleARN(s); err == nil {
			t.Errorf("ParseRoleARN(%q) succeeded", s)
		}
	}
	session := Session{RoleARN: "arn:aws:iam::111122223333:role/team/web", AccountID: "111122223333", RoleID: "AROAX", Name: "s-1"}
	if got, want := session.ARN(), "arn:aws:sts::111122223333:assumed-role/web/s-1"; got != want {
		t.Errorf("session ARN %s, want %s", got, want)
	}
}

func TestCheckTags(t *testing.T) {
	many := make([]Tag, 51)
	for i := range many {
		many[i].Key = fmt.Sprint("k", i)
	}
	for name, tags := range map[string][]Tag{
		"too many": many, "no key": {{"", "v"}}, "long key": {{strings.Repeat("é", 129), ""}}, "long value": {{"k", strings.Repeat("v", 257)}},
		"reserved": {{"AWS:x", ""}}, "twice": {{"Team", "a"}, {"team", "b"}}, "bad character": {{"a!", ""}}, "bad value": {{"a", "\n\x01"}},
	} {
		if err := CheckTags(tags); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if err := CheckTags(append(many[:49:49], Tag{strings.Repeat("é", 128), strings.Repeat("v", 256)})); err != nil {
		t.Errorf("50 good tags: %v", err)
	}
}

func TestPodSession(t *testing.T) {
	const uuid = "0c9f1f2e-7f53-4a55-9c9f-0123456789ab"
	for _, tt := range []struct{ cluster, pod, want string }{
		{"local", "carts-x", "eks-local-carts-x-" + uuid},
		{"production-eu", "checkout-service-7d9c-x2", "eks-production-checkout-ser-" + uuid},
		{"a_b", "web.v2/é", "eks-a_b-web.v2----" + uuid},
	} {
		got := PodSessionName(tt.cluster, tt.pod, uuid)
		if got != tt.want || !ValidSessionName(got) {
			t.Errorf("PodSessionName(%s, %s) = %s, want %s", tt.cluster, tt.pod, got, tt.want)
		}
	}
	for s, want := range map[string]bool{"us-west-2/111122223333/local/carts/carts": true, "a": false, "a b": false, "a:b=c,d@e.f+g-h_i": true, strings.Repeat("x", 1225): false} {
		if got := ValidExternalID(s); got != want {
			t.Errorf("ValidExternalID(%.40q) = %t", s, got)
		}
	}
}
