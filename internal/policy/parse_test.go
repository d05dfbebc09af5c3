package policy

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// document wraps one statement of a current version.
func document(statement string) string {
	return `{"Version":"2012-10-17","Statement":[` + statement + `]}`
}

func mustParse(t testing.TB, kind Kind, text string) *Policy {
	t.Helper()
	p, err := Parse(kind, text)
	if err != nil {
		t.Fatalf("parsing %s: %v", text, err)
	}
	return p
}

func TestParseAccepts(t *testing.T) {
	tests := []struct {
		name string
		kind Kind
		text string
	}{
		{"single statement", Identity, `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*"}}`},
		{"no version", Identity, `{"Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`},
		{"version last, id", Identity, `{"Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}],"Id":"x y","Version":"2008-10-17"}`},
		{"white space", Identity, " \t\r\n" + document(`{"Effect":"Allow","Action":"*","Resource":"*"}`) + "\n"},
		{"unquoted values", Identity, document(`{"Effect":"Allow","Action":"*","Resource":"*","Condition":{
			"Bool":{"aws:SecureTransport":true},"NumericLessThan":{"s3:max-keys":[10,"20"]},"Null":{"aws:TokenIssueTime":false}}}`)},
		{"empty condition blocks", Identity, document(`{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringEquals":{}}}`)},
		{"no condition values", Identity, document(`{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringEquals":{"aws:a":[]}}}`)},
		{"short resource", Identity, document(`{"Effect":"Allow","Action":"lambda:*","Resource":["arn:aws:lambda:*","arn:*:s3:::b/*"]}`)},
		{"wildcards in actions", Identity, document(`{"Effect":"Allow","NotAction":["*:*","s3:Get*","ec2:?un*"],"NotResource":"arn:aws:s3:::b"}`)},
		{"empty sids", Identity, document(`{"Sid":"","Effect":"Deny","Action":"*","Resource":"*"},{"Sid":"","Effect":"Deny","Action":"*","Resource":"*"}`)},
		{"pod identity trust", Trust, document(`{"Sid":"AllowEksAuthToAssumeRoleForPodIdentity","Effect":"Allow",
			"Principal":{"Service":"pods.eks.amazonaws.com"},"Action":["sts:AssumeRole","sts:TagSession"]}`)},
		{"irsa trust", Trust, document(`{"Effect":"Allow","Principal":{"Federated":"arn:aws:iam::111122223333:oidc-provider/oidc.example.com/id/1"},
			"Action":"sts:AssumeRoleWithWebIdentity","Condition":{"StringEquals":{"oidc.example.com:8443/id/1:sub":"system:serviceaccount:a:b"}}}`)},
		{"all principals", Trust, document(`{"Effect":"Allow","Principal":{"AWS":["*","111122223333","arn:aws:iam::111122223333:root",
			"arn:aws:iam::111122223333:user/a/b","arn:aws:iam::111122223333:role/r","arn:aws:sts::111122223333:assumed-role/r/s",
			"arn:aws:sts::111122223333:federated-user/f","AROAEXAMPLEEXAMPLE12"],"Federated":"accounts.google.com"},"Action":"sts:AssumeRole"}`)},
		{"bucket policy", Resource, document(`{"Sid":"any thing","Effect":"Deny","NotPrincipal":{"AWS":"111122223333","CanonicalUser":"79a59d"},
			"Action":"s3:*","Resource":"arn:aws:s3:::b/*"}`)},
		{"latin characters", Identity, document(`{"Effect":"Allow","Action":"*","Resource":"arn:aws:s3:::b/Größe"}`)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { mustParse(t, tt.kind, tt.text) })
	}
}

func TestParseRefuses(t *testing.T) {
	const rest = `"Effect":"Allow","Action":"s3:GetObject","Resource":"*"`
	condition := func(block string) string { return document(`{` + rest + `,"Condition":` + block + `}`) }
	trust := func(principal string) string {
		return document(`{"Effect":"Allow",` + principal + `,"Action":"sts:AssumeRole"}`)
	}
	tests := []struct {
		name    string
		kind    Kind
		text    string
		message string
		reason  string // a part of it
	}{
		{"nothing", Identity, "", errSyntax, "ends too early"},
		{"no object", Identity, `[]`, errSyntax, "the document must be an object, not a list"},
		{"cut off", Identity, `{"Version":"2012-10-17","Statement":[{`, errSyntax, "not closed"},
		{"cut off in a string", Identity, `{"Version":"2012`, errSyntax, "ends too early"},
		{"missing comma", Identity, `{"Version":"2012-10-17" "Statement":[]}`, errSyntax, "invalid character"},
		{"comma at the end", Identity, `{"Version":"2012-10-17",}`, errSyntax, "invalid character"},
		{"two documents", Identity, document(`{`+rest+`}`) + `{}`, errSyntax, "follows the end"},
		{"text after it", Identity, document(`{`+rest+`}`) + `,`, errSyntax, "follows the end"},
		{"duplicate element", Identity, document(`{` + rest + `,"Action":"s3:*"}`), errSyntax, `"Action" is there twice`},
		{"duplicate operator", Identity, condition(`{"Bool":{"aws:a":"true"},"Bool":{"aws:b":"true"}}`), errSyntax, `"Bool" is there twice`},
		{"duplicate key", Identity, condition(`{"Bool":{"aws:a":"true","AWS:A":"true"}}`), errSyntax, "different case"},
		{"duplicate in escapes", Identity, document(`{` + rest + `,"\u0041ction":"s3:*"}`), errSyntax, "twice"},
		{"too deep", Identity, strings.Repeat(`[`, 100000), errSyntax, "nested too deeply"},
		{"too long", Identity, `{"Id":"` + strings.Repeat("x", MaxLength) + `"}`, errSyntax, "longer than 131072"},
		{"bad character", Identity, `{"Id":"中"}`, errSyntax, "U+4E2D"},
		{"invalid encoding", Identity, "{\"Id\":\"\xff\"}", errSyntax, "U+FFFD"},
		{"null character", Identity, "{\"Id\":\"\x00\"}", errSyntax, "U+0000"},
		{"unknown element", Identity, `{"Version":"2012-10-17","Statements":[]}`, errSyntax, `unknown element "Statements"`},
		{"wrong case", Identity, document(`{"effect":"Allow","Action":"s3:*","Resource":"*"}`), errSyntax, `"effect"`},
		{"no statement", Identity, `{"Version":"2012-10-17"}`, errSyntax, "no Statement"},
		{"empty statements", Identity, `{"Version":"2012-10-17","Statement":[]}`, errSyntax, "empty"},
		{"statement a string", Identity, `{"Version":"2012-10-17","Statement":["x"]}`, errSyntax, "a statement must be an object, not a string"},
		{"future version", Identity, `{"Version":"2030-01-01","Statement":{` + rest + `}}`, errVersion, "Version is neither"},
		{"version a number", Identity, `{"Version":2012,"Statement":{` + rest + `}}`, errVersion, ""},
		{"id a number", Identity, `{"Id":1,"Statement":{` + rest + `}}`, errSyntax, "Id must be a string"},

		{"sid characters", Identity, document(`{"Sid":"a b",` + rest + `}`), errSyntax, "A-Z"},
		{"sid a number", Identity, document(`{"Sid":1,` + rest + `}`), errSyntax, "Sid must be a string"},
		{"both resources", Identity, document(`{` + rest + `,"NotResource":"*"}`), errSyntax, "both Resource and NotResource"},
		{"resource a number", Identity, document(`{"Effect":"Allow","Action":"s3:*","Resource":1}`), errSyntax, "Resource must be"},
		{"sid twice", Identity, document(`{"Sid":"a",` + rest + `},{"Sid":"a",` + rest + `}`), errSids, `"a"`},
		{"no effect", Identity, document(`{"Action":"s3:*","Resource":"*"}`), errSyntax, "no Effect"},
		{"effect in lower case", Identity, document(`{"Effect":"allow","Action":"s3:*","Resource":"*"}`), errSyntax, "Effect"},
		{"no action", Identity, document(`{"Effect":"Allow","Resource":"*"}`), errNoActions, ""},
		{"empty actions", Identity, document(`{"Effect":"Allow","Action":[],"Resource":"*"}`), errNoActions, ""},
		{"both actions", Identity, document(`{` + rest + `,"NotAction":"s3:*"}`), errSyntax, "both Action and NotAction"},
		{"no vendor", Identity, document(`{"Effect":"Allow","Action":"GetObject","Resource":"*"}`), errVendor, "GetObject"},
		{"empty vendor", Identity, document(`{"Effect":"Allow","Action":":x","Resource":"*"}`), "Vendor  is not valid", ""},
		{"bad vendor", Identity, document(`{"Effect":"Allow","Action":"s 3:x","Resource":"*"}`), "Vendor s 3 is not valid", ""},
		{"two colons", Identity, document(`{"Effect":"Allow","Action":"s3:a:b","Resource":"*"}`), errOneColon, ""},
		{"action a number", Identity, document(`{"Effect":"Allow","Action":[1],"Resource":"*"}`), errSyntax, "a value of Action must be a string, not a number"},
		{"no resource", Identity, document(`{"Effect":"Allow","Action":"s3:*"}`), errNoResources, ""},
		{"empty resources", Identity, document(`{"Effect":"Allow","Action":"s3:*","Resource":[]}`), errNoResources, ""},
		{"no ARN", Identity, document(`{"Effect":"Allow","Action":"s3:*","Resource":"bucket"}`), `Resource bucket must be in ARN format or "*".`, ""},
		{"short ARN", Identity, document(`{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3::bucket"}`), errLegacy, "six parts"},
		{"wildcard service", Identity, document(`{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:*:::x"}`), errLegacy, "service"},
		{"variable too early", Identity, document(`{"Effect":"Deny","Action":"s3:*","Resource":"arn:aws:iam::${aws:PrincipalAccount}:role/x"}`), errSyntax, "before the fifth colon"},
		{"variable not closed", Identity, document(`{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::b/${aws:username"}`), errSyntax, "not closed"},
		{"variable without a name", Identity, document(`{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::b/${}"}`), errSyntax, "must name"},
		{"default not quoted", Identity, document(`{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::b/${aws:a, x}"}`), errSyntax, "single quotes"},
		{"principal", Identity, document(`{` + rest + `,"Principal":"*"}`), errPrincipal, ""},
		{"not principal", Session, document(`{` + rest + `,"NotPrincipal":"*"}`), errPrincipal, ""},

		{"trust with a resource", Trust, document(`{"Effect":"Allow","Principal":"*","Action":"sts:AssumeRole","Resource":"*"}`), "Has prohibited field Resource", ""},
		{"trust without principal", Trust, document(`{"Effect":"Allow","Action":"sts:AssumeRole"}`), errNoPrincipal, ""},
		{"trust with NotPrincipal", Trust, trust(`"NotPrincipal":{"AWS":"111122223333"}`), "Has prohibited field NotPrincipal", ""},
		{"trust for other actions", Trust, document(`{"Effect":"Allow","Principal":"*","Action":"s3:GetObject"}`), errTrustAction, "s3:GetObject"},
		{"principal a string", Trust, trust(`"Principal":"111122223333"`), errSyntax, "Principal must be an object"},
		{"unknown kind of principal", Trust, trust(`"Principal":{"Group":"x"}`), errSyntax, `"Group"`},
		{"both principals", Trust, trust(`"Principal":"*","NotPrincipal":"*"`), errSyntax, "both Principal and NotPrincipal"},
		{"principal a number", Trust, trust(`"Principal":{"AWS":111122223333}`), errSyntax, "AWS must be"},
		{"no principal", Trust, trust(`"Principal":{"AWS":"alice"}`), `Invalid principal in policy: "AWS":"alice"`, ""},
		{"wildcard role", Trust, trust(`"Principal":{"AWS":"arn:aws:iam::111122223333:role/*"}`), `Invalid principal in policy: "AWS":"arn:aws:iam::111122223333:role/*"`, ""},
		{"wildcard session", Trust, trust(`"Principal":{"AWS":"arn:aws:sts::111122223333:assumed-role/r/*"}`), `Invalid principal in policy: "AWS":"arn:aws:sts::111122223333:assumed-role/r/*"`, ""},
		{"session without a name", Trust, trust(`"Principal":{"AWS":"arn:aws:sts::111122223333:assumed-role/r"}`), `Invalid principal in policy: "AWS":"arn:aws:sts::111122223333:assumed-role/r"`, ""},
		{"a group", Trust, trust(`"Principal":{"AWS":"arn:aws:iam::111122223333:group/g"}`), `Invalid principal in policy: "AWS":"arn:aws:iam::111122223333:group/g"`, ""},
		{"wildcard service", Trust, trust(`"Principal":{"Service":"*"}`), `Invalid principal in policy: "Service":"*"`, ""},
		{"wildcard provider", Trust, trust(`"Principal":{"Federated":"*"}`), `Invalid principal in policy: "Federated":"*"`, ""},
		{"variable principal", Trust, trust(`"Principal":{"AWS":"${aws:PrincipalArn}"}`), `Invalid principal in policy: "AWS":"${aws:PrincipalArn}"`, ""},
		{"canonical user", Trust, trust(`"Principal":{"CanonicalUser":"79a59d"}`), `Invalid principal in policy: "CanonicalUser":"79a59d"`, ""},
		{"bucket policy without principal", Resource, document(`{` + rest + `}`), errNoPrincipal, ""},

		{"unknown operator", Identity, condition(`{"StringEqual":{"aws:a":"x"}}`), errSyntax, `no condition operator "StringEqual"`},
		{"unknown operator, no keys", Identity, condition(`{"Foo":{}}`), errSyntax, `no condition operator "Foo"`},
		{"operator in lower case", Identity, condition(`{"stringequals":{"aws:a":"x"}}`), errSyntax, "no condition operator"},
		{"unknown set operator", Identity, condition(`{"ForEachValue:StringEquals":{"aws:a":"x"}}`), errSyntax, "no condition operator"},
		{"two set operators", Identity, condition(`{"ForAllValues:ForAnyValue:StringEquals":{"aws:a":"x"}}`), errSyntax, "no condition operator"},
		{"NullIfExists", Identity, condition(`{"NullIfExists":{"aws:a":"true"}}`), errSyntax, "no condition operator"},
		{"condition a list", Identity, condition(`[]`), errSyntax, "Condition must be an object, not a list"},
		{"operator a string", Identity, condition(`{"StringEquals":"x"}`), errSyntax, "StringEquals must be an object"},
		{"value an object", Identity, condition(`{"StringEquals":{"aws:a":{}}}`), errSyntax, "aws:a must be"},
		{"value null", Identity, condition(`{"StringEquals":{"aws:a":[null]}}`), errSyntax, "not null"},
		{"key without vendor", Identity, condition(`{"StringEquals":{"SourceIp":"x"}}`), errVendor, "SourceIp"},
		{"tag without key", Identity, condition(`{"StringEquals":{"aws:PrincipalTag/":"x"}}`), errVendor, "aws:PrincipalTag/"},
		{"not a number", Identity, condition(`{"NumericEquals":{"aws:a":"abc"}}`), errSyntax, `"abc" is not a number`},
		{"infinite", Identity, condition(`{"NumericEquals":{"aws:a":"Inf"}}`), errSyntax, "not a number"},
		{"hexadecimal", Identity, condition(`{"NumericEquals":{"aws:a":"0x10"}}`), errSyntax, "not a number"},
		{"variable number", Identity, condition(`{"NumericEquals":{"aws:a":"${aws:b}"}}`), errSyntax, "not a number"},
		{"not a date", Identity, condition(`{"DateLessThan":{"aws:CurrentTime":"yesterday"}}`), errSyntax, "not a date"},
		{"not a boolean", Identity, condition(`{"Bool":{"aws:a":"yes"}}`), errSyntax, "true or false"},
		{"not base64", Identity, condition(`{"BinaryEquals":{"aws:a":"&"}}`), errSyntax, "base64"},
		{"not an address", Identity, condition(`{"IpAddress":{"aws:SourceIp":"10.0.0.0/33"}}`), errSyntax, "CIDR"},
		{"address of both kinds", Identity, condition(`{"IpAddress":{"aws:SourceIp":"::ffff:10.0.0.0/90"}}`), errSyntax, "mixes"},
		{"variable in an ARN", Identity, condition(`{"ArnLike":{"aws:SourceArn":"arn:aws:s3:::${b"}}`), errSyntax, "not closed"},
		{"wildcard address", Identity, condition(`{"IpAddress":{"aws:SourceIp":"10.*"}}`), errSyntax, "CIDR"},
		{"not an ARN", Identity, condition(`{"ArnLike":{"aws:SourceArn":"arn:aws:sns:*"}}`), errSyntax, "six parts"},
		{"Null of a string", Identity, condition(`{"Null":{"aws:a":"maybe"}}`), errSyntax, "true or false"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse(tt.kind, tt.text)
			var refused *SyntaxError
			if !errors.As(err, &refused) {
				t.Fatalf("got error %v, want a SyntaxError", err)
			}
			if refused.Message != tt.message || !strings.Contains(refused.Reason, tt.reason) {
				t.Errorf("got %v, want %q because of %q", err, tt.message, tt.reason)
			}
			if refused.Line < 1 || refused.Column < 1 {
				t.Errorf("position %d:%d is none", refused.Line, refused.Column)
			}
		})
	}
}

func TestSyntaxErrorPosition(t *testing.T) {
	tests := []struct{ text, want string }{
		{"{\n  \"Version\": \"2012-10-17\",\n  \"Statement\": [\n    {\n      \"Effect\": \"Alow\"\n", "6:1"}, // it ends in line 6
		{"{\n  \"Id\": \"äöü\", \"Satement\": []\n}", "2:16"},
		{"{\"Statement\": {\"Effect\": \"Allow\",\n\t\"Action\": \"s3:*\",\n\t\"Resource\": [\"*\", \"x\"]}}", "3:20"},
		{"{\n\"Id\": \"a\"\n \"Version\": \"x\"}", "3:2"},
		{"{} x", "1:4"},
	}
	for _, tt := range tests {
		_, err := Parse(Identity, tt.text)
		var refused *SyntaxError
		if !errors.As(err, &refused) {
			t.Fatalf("%q: got error %v", tt.text, err)
		}
		if got := fmt.Sprintf("%d:%d", refused.Line, refused.Column); got != tt.want {
			t.Errorf("%q: %v, want position %s", tt.text, err, tt.want)
		}
	}
}

func TestSyntaxErrorText(t *testing.T) {
	_, err := Parse(Identity, document(`{"Effect":"Allow","Resource":"*"}`))
	want := "Policy statement must contain actions. (line 1, column 38: the statement has neither Action nor NotAction)"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestStatementPositions(t *testing.T) {
	text := "{\"Version\":\"2012-10-17\",\"Id\":\"ä\",\"Statement\":[\n" +
		"  {\"Effect\":\"Allow\",\"Action\":\"*\",\"Resource\":\"*\"},\n" +
		"  {\"Sid\":\"b\",\n   \"Effect\":\"Deny\",\"Action\":\"*\",\"Resource\":\"*\"}]}"
	var got []Statement
	for _, s := range mustParse(t, Identity, text).statements {
		got = append(got, s.Statement)
	}
	want := []Statement{
		{Number: 1, Start: Position{2, 3}, End: Position{2, 48}},
		{Number: 2, Sid: "b", Start: Position{3, 3}, End: Position{4, 47}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestPrincipals(t *testing.T) {
	p := mustParse(t, Trust, document(`
		{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"Service":"pods.eks.amazonaws.com","AWS":["111122223333",
			"arn:aws:iam::111122223333:role/r","arn:aws:iam::111122223333:root"]}},
		{"Effect":"Deny","Action":"sts:AssumeRole","Principal":{"AWS":["arn:aws:iam::111122223333:user/u","arn:aws:iam::111122223333:role/r"]}}`))
	want := []string{"arn:aws:iam::111122223333:role/r", "arn:aws:iam::111122223333:user/u"}
	if diff := cmp.Diff(want, p.Principals()); diff != "" {
		t.Error(diff)
	}
}

func TestNames(t *testing.T) {
	p, err := Parse(Trust, `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Principal":{"Service":"pods.eks.amazonaws.com"},"Action":"sts:AssumeRole","Condition":{"StringEquals":{"aws:RequestTag/x":"y"}}},
		{"Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:*"},
		{"Effect":"Deny","Principal":{"Service":"pods.eks.amazonaws.com"},"Action":"sts:TagSession"}]}`)
	if err != nil {
		t.Fatal(err)
	}
	for action, want := range map[string]bool{"sts:AssumeRole": true, "sts:TagSession": false, "sts:SetSourceIdentity": false} {
		if got := p.Names(Principal{Service: "pods.eks.amazonaws.com"}, action); got != want {
			t.Errorf("Names(%s) = %t, want %t", action, got, want)
		}
	}
}
