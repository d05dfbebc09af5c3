package policy

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/podid/podid/internal/identity"
)

// The tables in testdata/cases have one case in each line that is neither empty nor a comment (#):
//
//	expected | policies | request | source
//
// expected is allow, deny (by a Deny statement), implicit (denied for want of an Allow), or refused (by Parse).
//
// policies are pairs of a kind (identity, boundary, session, resource, trust) and a document, a statement or a list of statements, the
// latter two of the current version. "if" and a Condition block stand for an identity policy that allows everything under that
// condition; "unless" and one for a policy that allows everything, and denies it under the condition.
//
// request is action, resource and condition keys, each of which may be absent; "-" stands for nothing. A key has a value (key=value, or
// key="a value" with spaces) or is multivalued (key=[a,b]). Without action and resource it is s3:GetObject on
// arn:aws:s3:::bucket/key. "as=" and an ARN, a service or "anyone" say who asks, if it is not the user alice of account 111122223333;
// "elsewhere" says that the resource belongs to another account, "must" that its policy must allow within the account too.
//
// source is the page of the IAM user guide that the expected answer follows from,
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_<source>.html, or the address of another page, or "podid: " and
// what we decided where AWS documents nothing. Where pages contradict each other, as on ForAnyValue with a negated operator and an
// absent key, the more special one counts. Nothing here was copied from what the code answers.
type policyCase struct {
	expected, policies, request string
}

const minCases = 1400

var sourceForm = regexp.MustCompile(`^(podid: .+|https://docs\.aws\.amazon\.com/\S+|[a-z0-9_-]+(#[\w-]+)?)$`)

// eachCase reads the tables.
func eachCase(t testing.TB, do func(place string, c policyCase)) {
	t.Helper()
	files, err := filepath.Glob("testdata/cases/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for i, line := range strings.Split(string(text), "\n") {
			if line == "" || strings.HasPrefix(line, "#") {
				continue
			}
			place, fields := fmt.Sprintf("%s:%d", file, i+1), strings.Split(line, " | ")
			if len(fields) != 4 || !sourceForm.MatchString(fields[3]) {
				t.Fatalf("%s: want expected | policies | request | source", place)
			}
			do(place, policyCase{strings.TrimSpace(fields[0]), strings.TrimSpace(fields[1]), strings.TrimSpace(fields[2])})
		}
	}
}

func TestCases(t *testing.T) {
	count, seen := 0, map[policyCase]string{}
	eachCase(t, func(place string, c policyCase) {
		if seen[c] != "" {
			t.Errorf("%s: is %s again", place, seen[c])
		}
		seen[c] = place
		if got := c.answer(t); got != c.expected {
			t.Errorf("%s: got %s, want %s\n%s | %s", place, got, c.expected, c.policies, c.request)
		}
		count++
	})
	if count < minCases {
		t.Errorf("there are %d cases, want at least %d", count, minCases)
	}
}

// answer says how the case comes out, in the words of expected.
func (c policyCase) answer(t *testing.T) string {
	t.Helper()
	in, err := c.inputs(t)
	if err != nil {
		return "refused"
	}
	req := c.parseRequest(t, in)
	d := Decide(req, in)
	if e := Explain(req, in); e.Decision != d {
		t.Errorf("%v: Explain decides %v, Decide %v", c, e.Decision, d)
	}
	switch {
	case d.Allowed:
		return "allow"
	case d.Explicit:
		return "deny"
	}
	return "implicit"
}

// documents are the policies of the case, as pairs of kind and text.
func (c policyCase) documents(t testing.TB) (documents [][2]string) {
	t.Helper()
	const everything = `{"Effect":"Allow","Action":"*","Resource":"*"}`
	for rest := c.policies; rest != ""; {
		kind, text, _ := strings.Cut(rest, " ")
		decoder := json.NewDecoder(strings.NewReader(text))
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			t.Fatalf("%v: %v", c, err)
		}
		rest = strings.TrimSpace(text[decoder.InputOffset():])
		doc := string(value)
		switch {
		case kind == "if":
			doc = document(everything[:len(everything)-1] + `,"Condition":` + doc + `}`)
		case kind == "unless":
			doc = document(everything + `,{"Effect":"Deny","Action":"*","Resource":"*","Condition":` + doc + `}`)
		case strings.HasPrefix(doc, "["):
			doc = document(doc[1 : len(doc)-1])
		case !strings.Contains(doc, `"Statement"`):
			doc = document(doc)
		}
		documents = append(documents, [2]string{kind, doc})
	}
	return documents
}

// caseKinds are the kinds of policies by their names in the tables.
var caseKinds = map[string]Kind{"identity": Identity, "if": Identity, "unless": Identity, "boundary": Boundary, "session": Session,
	"resource": Resource, "trust": Trust}

// inputs reads the policies of the case. An error is one of Parse.
func (c policyCase) inputs(t *testing.T) (*Inputs, error) {
	t.Helper()
	in := &Inputs{SameAccount: true}
	for _, d := range c.documents(t) {
		if err := in.parse(t, d[0], d[1]); err != nil {
			return nil, err
		}
	}
	return in, nil
}

func (in *Inputs) parse(t *testing.T, kind, text string) error {
	t.Helper()
	k, ok := caseKinds[kind]
	if !ok {
		t.Fatalf("there is no kind of policy %q", kind)
	}
	p, err := Parse(k, text)
	if err == nil {
		checkPrinted(t, k, text, p)
	}
	n := &Named{Name: kind, Policy: p}
	switch k {
	case Identity:
		in.Identity = append(in.Identity, n)
	case Boundary:
		in.Boundary = n
	case Session:
		in.Session = append(in.Session, n)
	default:
		if in.Resource != nil {
			t.Fatalf("there are two policies of the resource: %s", text)
		}
		in.Resource = n
	}
	return err
}

var requestWord = regexp.MustCompile(`(?:[^\s"]|"[^"]*")+`)

// parseRequest reads the request of the case and notes in the inputs whose the resource is.
func (c policyCase) parseRequest(t *testing.T, in *Inputs) *Request {
	t.Helper()
	ctx := &Context{}
	req := &Request{Principal: principalNamed(t, userARN), Context: ctx}
	for _, word := range requestWord.FindAllString(c.request, -1) {
		word = strings.ReplaceAll(word, `"`, "")
		key, value, isKey := strings.Cut(word, "=")
		list, isList := strings.CutPrefix(value, "[")
		switch {
		case word == "-":
		case word == "elsewhere":
			in.SameAccount = false
		case word == "must":
			in.MustAllow = true
		case key == "as":
			req.Principal = principalNamed(t, value)
			in.Federated = req.Principal.Caller != nil && req.Principal.Caller.Type == identity.CallerFederatedUser
		case isKey && value == "[]":
			ctx.SetMany(key)
		case isList:
			ctx.SetMany(key, strings.Split(strings.TrimSuffix(list, "]"), ",")...)
		case isKey:
			ctx.Set(key, value)
		case req.Action == "":
			req.Action = word
		case req.Resource == "":
			req.Resource = word
		default:
			t.Fatalf("%s: what is %q?", c.request, word)
		}
	}
	if req.Action == "" {
		req.Action = "s3:GetObject"
	}
	if req.Resource == "" {
		req.Resource = "arn:aws:s3:::bucket/key"
	}
	return req
}

// principalNamed makes the principal of an ARN, or of a service's name. Users and roles have the unique ids of the other tests.
func principalNamed(t *testing.T, name string) Principal {
	t.Helper()
	if name == "anyone" {
		return Principal{}
	}
	arn, err := identity.ParseARN(name)
	if err != nil {
		return Principal{Service: name}
	}
	kind, path, _ := strings.Cut(arn.Resource, "/")
	c := &identity.Caller{AccountID: arn.AccountID, ARN: name}
	switch kind {
	case "oidc-provider", "saml-provider":
		return Principal{Federated: name}
	case "root":
		c.Type, c.UserID = identity.CallerRoot, arn.AccountID
	case "user":
		c.Type, c.UserID, c.UserName = identity.CallerUser, "AIDAEXAMPLEEXAMPLE123", path[strings.LastIndex(path, "/")+1:]
	case "assumed-role":
		role, session, _ := strings.Cut(path, "/")
		c.Type, c.UserID = identity.CallerAssumedRole, "AROAEXAMPLEEXAMPLE123:"+session
		c.Session = &identity.Session{RoleARN: "arn:aws:iam::" + arn.AccountID + ":role/" + role, RoleID: "AROAEXAMPLEEXAMPLE123",
			AccountID: arn.AccountID, Name: session}
	case "federated-user":
		c.Type, c.UserID = identity.CallerFederatedUser, arn.AccountID+":"+path
		c.Session = &identity.Session{UserARN: userARN, UserID: "AIDAEXAMPLEEXAMPLE123", AccountID: arn.AccountID, Name: path}
	default:
		t.Fatalf("what principal is %q?", name)
	}
	return Principal{Caller: c}
}
