package policy

import (
	"strings"
	"testing"

	"github.com/podid/podid/internal/identity"
)

func TestPinned(t *testing.T) {
	const role, user, other = "arn:aws:iam::111122223333:role/r", "arn:aws:iam::111122223333:user/u", "arn:aws:iam::444455556666:role/o"
	text := document(`{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"AWS":["` + role + `","` + other + `"]}},
		{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"AWS":"` + user + `"}},
		{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"Service":"pods.eks.amazonaws.com"}}`)
	plain := mustParse(t, Trust, text)
	pinned := plain.Pinned(map[string]string{role: "AROAOLD", user: "AIDAOLD", "arn:aws:iam::111122223333:role/unnamed": "AROANO"})
	session := func(arn, id string) Principal {
		return Principal{Caller: &identity.Caller{
			Type: identity.CallerAssumedRole, AccountID: arn[13:25], ARN: "arn:aws:sts::" + arn[13:25] + ":assumed-role/r/s", UserID: id + ":s",
			Session: &identity.Session{RoleARN: arn, RoleID: id},
		}}
	}
	named := func(id string) Principal {
		return Principal{Caller: &identity.Caller{Type: identity.CallerUser, AccountID: "111122223333", ARN: user, UserID: id}}
	}
	for name, tt := range map[string]struct {
		who           Principal
		plain, pinned bool
	}{
		"the role":               {session(role, "AROAOLD"), true, true},
		"its namesake":           {session(role, "AROANEW"), true, false},
		"the user":               {named("AIDAOLD"), true, true},
		"its namesake, too":      {named("AIDANEW"), true, false},
		"nobody's id":            {named(""), true, false},
		"a role that is not":     {session(other, "AROAANY"), true, true},
		"whom nobody has named":  {session("arn:aws:iam::111122223333:role/unnamed", "AROANO"), false, false},
		"a service":              {Principal{Service: podsEKS}, true, true},
		"the role under another": {session("arn:aws:iam::111122223333:role/later", "AROAOLD"), false, true},
	} {
		t.Run(name, func(t *testing.T) {
			req := &Request{Action: "sts:AssumeRole", Resource: role, Principal: tt.who}
			if got := plain.Evaluate(req).Effect == Allow; got != tt.plain {
				t.Errorf("plain: %t, want %t", got, tt.plain)
			}
			if got := pinned.Evaluate(req).Effect == Allow; got != tt.pinned {
				t.Errorf("pinned: %t, want %t", got, tt.pinned)
			}
			if got := testing.AllocsPerRun(10, func() { pinned.Evaluate(req) }); got != 0 {
				t.Errorf("%v allocations, want none", got)
			}
		})
	}
	why := Explain(&Request{Action: "sts:AssumeRole", Resource: role, Principal: session(role, "AROANEW")}, &Inputs{Resource: &Named{Name: "r", Policy: pinned}})
	if want := `Principal: want "AWS ` + role + ` (AROAOLD)" or "AWS ` + other + `"`; !strings.Contains(why.String(), want) {
		t.Errorf("explained as %s, want %s", why, want)
	}
	if got := plain.Pinned(nil); got != plain {
		t.Error("without ids it is another policy")
	}
}

func TestReplacePrincipals(t *testing.T) {
	const document = `{ "Version":"2012-10-17", "Id":"a",
		"Statement":[ {"Effect":"Allow","Action":"sts:AssumeRole", "Principal" : { "Service":"a", "AWS" :[ "a","\u0062" , "c" ], "Federated":"a"},"Condition":{"StringEquals":{"AWS":"a"}}},
		{"Sid":"a","Effect":"Deny","Action":"sts:*","Principal":{"AWS":"a"}},{"Principal":"*"},{"Principal":{"Service":"a"}},{"NotPrincipal":{"AWS":"a"}}] }
`
	want := strings.NewReplacer(`[ "a","\u0062" `, `[ "x","y\"" `, `{"AWS":"a"}},{"Principal":"*"}`, `{"AWS":"x"}},{"Principal":"*"}`,
		`"NotPrincipal":{"AWS":"a"}`, `"NotPrincipal":{"AWS":"x"}`).Replace(document)
	got, err := ReplacePrincipals(document, func(principal string) string {
		return map[string]string{"a": "x", "b": `y"`, "c": "c"}[principal]
	})
	if err != nil || got != want {
		t.Errorf("got %s, %v, want %s", got, err, want)
	}
	for _, single := range []string{`{"Statement":{"Principal":{"AWS":"a"}}}`, `{"Statement":{"Principal":"a"}}`, `{"Statement":[]}`, `{}`, `[]`, `"a"`} {
		got, err := ReplacePrincipals(single, func(string) string { return "x" })
		if want := strings.Replace(single, `"AWS":"a"`, `"AWS":"x"`, 1); err != nil || got != want {
			t.Errorf("got %s, %v, want %s", got, err, want)
		}
	}
	if _, err := ReplacePrincipals("{", func(p string) string { return p }); err == nil {
		t.Error("what is no JSON is taken")
	}
}
