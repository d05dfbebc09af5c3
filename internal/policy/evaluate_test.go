package policy

import (
	"strings"
	"testing"

	"github.com/podid/podid/internal/identity"
)

const (
	roleARN    = "arn:aws:iam::111122223333:role/team/web"
	sessionARN = "arn:aws:sts::111122223333:assumed-role/web/one"
	userARN    = "arn:aws:iam::111122223333:user/alice"
	podsEKS    = "pods.eks.amazonaws.com"
	provider   = "arn:aws:iam::111122223333:oidc-provider/oidc.example.com/id/1"
)

func session() Principal {
	return Principal{Caller: &identity.Caller{
		Type: identity.CallerAssumedRole, AccountID: "111122223333", ARN: sessionARN, UserID: "AROAEXAMPLEEXAMPLE123:one",
		Session: &identity.Session{RoleARN: roleARN, RoleID: "AROAEXAMPLEEXAMPLE123", AccountID: "111122223333", Name: "one"},
	}}
}

func user() Principal {
	return Principal{Caller: &identity.Caller{
		Type: identity.CallerUser, AccountID: "111122223333", ARN: userARN, UserID: "AIDAEXAMPLEEXAMPLE123", UserName: "alice",
	}}
}

func root() Principal {
	return Principal{Caller: &identity.Caller{
		Type: identity.CallerRoot, AccountID: "111122223333", ARN: "arn:aws:iam::111122223333:root", UserID: "111122223333",
	}}
}

func stranger() Principal {
	return Principal{Caller: &identity.Caller{Type: identity.CallerAnonymous}}
}

// keys builds a context. Values with a comma are multivalued, "," alone is a set without values.
func keys(pairs ...string) *Context {
	ctx := &Context{}
	for i := 0; i < len(pairs); i += 2 {
		switch key, value := pairs[i], pairs[i+1]; {
		case value == ",":
			ctx.SetMany(key)
		case strings.Contains(value, ","):
			ctx.SetMany(key, strings.Split(strings.TrimPrefix(value, ","), ",")...)
		default:
			ctx.Set(key, value)
		}
	}
	return ctx
}

func TestActions(t *testing.T) {
	tests := []struct {
		element, action string
		want            Effect
	}{
		{`"Action":"s3:GetObject"`, "s3:GetObject", Allow},
		{`"Action":"S3:getobject"`, "s3:GetObject", Allow},
		{`"Action":"s3:GetObject"`, "S3:GETOBJECT", Allow},
		{`"Action":"s3:GetObject"`, "s3:GetObjectAcl", NoMatch},
		{`"Action":"s3:Get*"`, "s3:GetObjectAcl", Allow},
		{`"Action":"s3:Get*"`, "s3:PutObject", NoMatch},
		{`"Action":"s3:*Object"`, "s3:PutObject", Allow},
		{`"Action":"s3:?etObject"`, "s3:GetObject", Allow},
		{`"Action":"s3:?etObject"`, "s3:etObject", NoMatch},
		{`"Action":"s3:Get.bject"`, "s3:GetObject", NoMatch},
		{`"Action":"*"`, "s3:GetObject", Allow},
		{`"Action":"*:*"`, "s3:GetObject", Allow},
		{`"Action":["iam:*","s3:*"]`, "s3:GetObject", Allow},
		{`"Action":["iam:*","s3:*"]`, "sts:AssumeRole", NoMatch},
		{`"NotAction":"iam:*"`, "s3:GetObject", Allow},
		{`"NotAction":["iam:*","s3:*"]`, "S3:GetObject", NoMatch},
		{`"Action":"s3:${*}"`, "s3:*", NoMatch}, // no variables in actions
	}
	for _, tt := range tests {
		p := mustParse(t, Identity, document(`{"Effect":"Allow",`+tt.element+`,"Resource":"*"}`))
		req := &Request{Action: tt.action, Resource: "*"}
		if got := p.Evaluate(req).Effect; got != tt.want {
			t.Errorf("%s for %s: got %v, want %v", tt.element, tt.action, got, tt.want)
		}
	}
}

func TestResources(t *testing.T) {
	ctx := keys("aws:username", "alice", "aws:PrincipalTag/Team", "a*", "aws:TagKeys", "x,y", "aws:userid", "")
	tests := []struct {
		element, resource string
		want              string // effect as Allow, and as Deny
	}{
		{`"Resource":"*"`, "*", "Allow Deny"},
		{`"Resource":"*"`, "arn:aws:s3:::b/k", "Allow Deny"},
		{`"Resource":"arn:aws:s3:::*"`, "*", "NoMatch NoMatch"},
		{`"Resource":"arn:aws:s3:::b"`, "arn:aws:s3:::b", "Allow Deny"},
		{`"Resource":"arn:aws:s3:::b"`, "arn:aws:s3:::B", "NoMatch NoMatch"},
		{`"Resource":"arn:aws:s3:::b"`, "arn:aws:s3:::b/k", "NoMatch NoMatch"},
		{`"Resource":"arn:aws:s3:::b/*"`, "arn:aws:s3:::b/k/l", "Allow Deny"},
		{`"Resource":"arn:aws:s3:::b/*"`, "arn:aws:s3:::b", "NoMatch NoMatch"},
		{`"Resource":"arn:aws:s3:::b/?"`, "arn:aws:s3:::b/é", "Allow Deny"},
		{`"Resource":"arn:aws:s3:::b/??"`, "arn:aws:s3:::b/é", "NoMatch NoMatch"},
		{`"Resource":"arn:aws:s3:::b/*??"`, "arn:aws:s3:::b/€", "NoMatch NoMatch"},
		{`"Resource":"arn:aws:s3:::b/*.txt"`, "arn:aws:s3:::b/a.txt.txt", "Allow Deny"},
		{`"Resource":"arn:aws:s3:::b/*a*b*"`, "arn:aws:s3:::b/xbxaxb", "Allow Deny"},
		{`"Resource":"arn:aws:s3:::b/*a*b"`, "arn:aws:s3:::b/xbxax", "NoMatch NoMatch"},
		{`"Resource":"arn:aws:lambda:*"`, "arn:aws:lambda:us-west-2:111122223333:function:f", "Allow Deny"},
		{`"Resource":"arn:aws:lambda:*:function:f"`, "arn:aws:lambda:us-west-2:111122223333:function:f", "Allow Deny"},
		{`"NotResource":"arn:aws:s3:::b/*"`, "arn:aws:s3:::b/k", "NoMatch NoMatch"},
		{`"NotResource":"arn:aws:s3:::b/*"`, "arn:aws:s3:::c/k", "Allow Deny"},
		{`"NotResource":["arn:aws:s3:::b/*","arn:aws:s3:::c/*"]`, "arn:aws:s3:::c/k", "NoMatch NoMatch"},

		{`"Resource":"arn:aws:s3:::b/${aws:username}/*"`, "arn:aws:s3:::b/alice/k", "Allow Deny"},
		{`"Resource":"arn:aws:s3:::b/${AWS:UserName}/*"`, "arn:aws:s3:::b/alice/k", "Allow Deny"},
		{`"Resource":"arn:aws:s3:::b/${aws:username}/*"`, "arn:aws:s3:::b/bob/k", "NoMatch NoMatch"},
		{`"Resource":"arn:aws:s3:::*/${aws:username}"`, "arn:aws:s3:::al/ali/alice", "Allow Deny"},
		{`"Resource":"arn:aws:s3:::b/${aws:PrincipalTag/team}"`, "arn:aws:s3:::b/abc", "NoMatch NoMatch"}, // its "*" is no wildcard
		{`"Resource":"arn:aws:s3:::b/${aws:PrincipalTag/team}"`, "arn:aws:s3:::b/a*", "Allow Deny"},
		{`"Resource":"arn:aws:s3:::b/${*}"`, "arn:aws:s3:::b/k", "NoMatch NoMatch"},
		{`"Resource":"arn:aws:s3:::b/${*}${?}${$}"`, "arn:aws:s3:::b/*?$", "Allow Deny"},
		{`"Resource":"arn:aws:s3:::b/$x{"`, "arn:aws:s3:::b/$x{", "Allow Deny"},
		{`"Resource":"arn:aws:s3:::b/${aws:a, 'x:}'}"`, "arn:aws:s3:::b/x:}", "Allow Deny"},
		{`"Resource":"arn:aws:s3:::b/${aws:username, 'x'}"`, "arn:aws:s3:::b/x", "NoMatch NoMatch"},
		{`"Resource":"arn:aws:s3:::b${aws:userid}"`, "arn:aws:s3:::b", "Allow Deny"}, // an empty value is a value
		// A variable without a value, or with several, matches no resource. The negation must not turn that into permission.
		{`"Resource":"arn:aws:s3:::b/*${aws:a}"`, "arn:aws:s3:::b/", "NoMatch NoMatch"},
		{`"Resource":"arn:aws:s3:::b/${aws:TagKeys}"`, "arn:aws:s3:::b/x", "NoMatch NoMatch"},
		{`"Resource":"arn:aws:s3:::b/${aws:TagKeys}"`, "arn:aws:s3:::b/", "NoMatch NoMatch"},
		{`"NotResource":"arn:aws:s3:::b/${aws:a}/*"`, "arn:aws:s3:::b/k", "NoMatch Deny"},
		{`"NotResource":["arn:aws:s3:::b/*","arn:aws:s3:::${aws:a}"]`, "arn:aws:s3:::b/k", "NoMatch NoMatch"},
	}
	for _, tt := range tests {
		var got []string
		for _, effect := range []string{"Allow", "Deny"} {
			p := mustParse(t, Identity, document(`{"Effect":"`+effect+`","Action":"*",`+tt.element+`}`))
			got = append(got, p.Evaluate(&Request{Action: "s3:GetObject", Resource: tt.resource, Context: ctx}).Effect.String())
		}
		if got := strings.Join(got, " "); got != tt.want {
			t.Errorf("%s for %s: got %s, want %s", tt.element, tt.resource, got, tt.want)
		}
	}
}

// In documents of the old version, or of none, variables are plain text.
func TestOldVersion(t *testing.T) {
	for _, version := range []string{`"Version":"2008-10-17",`, ""} {
		p := mustParse(t, Identity, `{`+version+`"Statement":{"Effect":"Allow","Action":"*","Resource":"arn:aws:s3:::b/${aws:username}/*",
			"Condition":{"StringLike":{"aws:referer":"${aws:username}*"}}}}`)
		ctx := keys("aws:username", "alice", "aws:referer", "${aws:username}x")
		if got := p.Evaluate(&Request{"s3:GetObject", "arn:aws:s3:::b/${aws:username}/k", Principal{}, ctx}).Effect; got != Allow {
			t.Errorf("%q: the text itself: got %v, want Allow", version, got)
		}
		if got := p.Evaluate(&Request{"s3:GetObject", "arn:aws:s3:::b/alice/k", Principal{}, ctx}).Effect; got != NoMatch {
			t.Errorf("%q: the variable's value: got %v, want NoMatch", version, got)
		}
	}
}

func TestDenyBeatsAllow(t *testing.T) {
	p := mustParse(t, Identity, document(`{"Effect":"Allow","Action":"s3:*","Resource":"*"},
		{"Sid":"no","Effect":"Deny","Action":"s3:Put*","Resource":"*"},{"Effect":"Allow","Action":"*","Resource":"*"}`))
	for action, want := range map[string]int{"s3:GetObject": 1, "s3:PutObject": 2, "sts:AssumeRole": 3} {
		got := p.Evaluate(&Request{Action: action, Resource: "*"})
		if got.Statement.Number != want || (got.Effect == Deny) != (want == 2) {
			t.Errorf("%s: got %v by %v, want statement %d", action, got.Effect, got.Statement, want)
		}
	}
	none := mustParse(t, Identity, document(`{"Effect":"Allow","Action":"s3:*","Resource":"*"}`))
	if got := none.Evaluate(&Request{Action: "sts:AssumeRole", Resource: "*"}); got != (Result{}) {
		t.Errorf("got %v, want nothing", got)
	}
}

func TestPrincipalElement(t *testing.T) {
	tests := []struct {
		kind    Kind
		element string
		who     string // those of session user root stranger service federated whom an Allow and a Deny reach
		denied  string
	}{
		{Resource, `"Principal":"*"`, "session user root stranger service federated", "session user root stranger service federated"},
		{Resource, `"Principal":{"AWS":"*"}`, "session user root stranger service federated", "session user root stranger service federated"},
		{Trust, `"Principal":"*"`, "session user root", "session user root stranger service federated"},
		{Trust, `"Principal":{"AWS":"111122223333"}`, "session user root", "session user root"},
		{Trust, `"Principal":{"AWS":"arn:aws:iam::111122223333:root"}`, "session user root", "session user root"},
		{Trust, `"Principal":{"AWS":"444455556666"}`, "", ""},
		{Trust, `"Principal":{"AWS":"` + roleARN + `"}`, "session", "session"},
		{Trust, `"Principal":{"AWS":"AROAEXAMPLEEXAMPLE123"}`, "session", "session"},
		{Trust, `"Principal":{"AWS":"AROAEXAMPLEEXAMPLE999"}`, "", ""},
		{Trust, `"Principal":{"AWS":"arn:aws:iam::111122223333:role/web"}`, "", ""}, // the path belongs to the name
		{Trust, `"Principal":{"AWS":"` + sessionARN + `"}`, "session", "session"},
		{Trust, `"Principal":{"AWS":"` + sessionARN + `2"}`, "", ""},
		{Trust, `"Principal":{"AWS":["` + userARN + `"]}`, "user", "user"},
		{Trust, `"Principal":{"AWS":"AIDAEXAMPLEEXAMPLE123"}`, "user", "user"},
		{Trust, `"Principal":{"Service":"pods.eks.amazonaws.com"}`, "service", "service"},
		{Trust, `"Principal":{"Service":["ec2.amazonaws.com","eks.amazonaws.com"]}`, "", ""},
		{Trust, `"Principal":{"Federated":"` + provider + `"}`, "federated", "federated"},
		{Trust, `"Principal":{"Federated":"` + provider + `0"}`, "", ""},
		{Trust, `"Principal":{"Federated":"pods.eks.amazonaws.com"}`, "", ""}, // a service is not a provider
		{Trust, `"Principal":{}`, "", ""},
		// Who is spared must be listed by all their names; who is left out, by any.
		{Resource, `"NotPrincipal":{"AWS":"111122223333"}`, "stranger service federated", "session user stranger service federated"},
		{Resource, `"NotPrincipal":{"AWS":["111122223333","` + roleARN + `"]}`, "stranger service federated", "session user stranger service federated"},
		{Resource, `"NotPrincipal":{"AWS":["111122223333","` + roleARN + `","` + sessionARN + `"]}`, "stranger service federated", "user stranger service federated"},
		{Resource, `"NotPrincipal":{"AWS":["111122223333","` + sessionARN + `"]}`, "stranger service federated", "session user stranger service federated"},
		{Resource, `"NotPrincipal":{"AWS":["` + roleARN + `","` + sessionARN + `"]}`, "user root stranger service federated", "session user root stranger service federated"},
		{Resource, `"NotPrincipal":{"AWS":["111122223333","` + userARN + `"]}`, "stranger service federated", "session stranger service federated"},
		{Resource, `"NotPrincipal":{"Service":"pods.eks.amazonaws.com"}`, "session user root stranger federated", "session user root stranger federated"},
		{Resource, `"NotPrincipal":"*"`, "", ""},
	}
	principals := []struct {
		name string
		who  Principal
	}{
		{"session", session()}, {"user", user()}, {"root", root()}, {"stranger", stranger()},
		{"service", Principal{Service: podsEKS}}, {"federated", Principal{Federated: provider}},
	}
	for _, tt := range tests {
		for effect, want := range map[string]string{"Allow": tt.who, "Deny": tt.denied} {
			resource := `,"Resource":"*"`
			if tt.kind == Trust {
				resource = ""
			}
			p := mustParse(t, tt.kind, document(`{"Effect":"`+effect+`",`+tt.element+`,"Action":"*"`+resource+`}`))
			var got []string
			for _, who := range principals {
				if p.Evaluate(&Request{Action: "sts:AssumeRole", Resource: roleARN, Principal: who.who}).Effect != NoMatch {
					got = append(got, who.name)
				}
			}
			if got := strings.Join(got, " "); got != want {
				t.Errorf("%s %s: reaches %q, want %q", effect, tt.element, got, want)
			}
		}
	}
}
