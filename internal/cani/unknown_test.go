package cani_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/google/go-cmp/cmp"

	"github.com/podid/podid/internal/cani"
	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/server/servertest"
)

var getObject = cani.Request{Action: "s3:GetObject", Resource: object}

func account(name string) identity.ServiceAccount {
	return identity.ServiceAccount{Namespace: "a", Name: name}
}

func subject(name string) identity.Subject { return identity.Subject{ServiceAccount: account(name)} }

// TestUnread asks as somebody who may not read everything: what is missing makes the answer unknown, unless it could not change it.
func TestUnread(t *testing.T) {
	s := newServer(t)
	s.Associate(servertest.Cluster, account("allowed"), s.MakeRole("allowed", servertest.PodTrust, allowAll), nil)
	s.Associate(servertest.Cluster, account("denied"), s.MakeRole("denied", servertest.PodTrust, allowDeny("s3:GetObject")), nil)
	s.Associate(servertest.Cluster, account("distrusted"), s.MakeRole("distrusted", servertest.PodTrust, allowAll), nil)
	setTrust(servertest.TrustAdmin)(t, s, "distrusted")
	target := s.MakeRole("target", servertest.TrustAdmin, allowAll)
	s.Associate(servertest.Cluster, account("chained"), s.MakeRole("chained", servertest.PodTrust, allowAll),
		func(in *eks.CreatePodIdentityAssociationInput) { in.TargetRoleArn = &target })
	for name, test := range map[string]struct {
		may     string // besides sts:GetCallerIdentity, which everybody may
		account string
		want    cani.Verdict // empty: no answer at all
		says    string
	}{
		"all":              {`"eks:*","iam:*","s3:GetBucketPolicy"`, "allowed", cani.Allowed, ""},
		"no bucket policy": {`"eks:*","iam:*"`, "allowed", cani.Unknown, "s3:GetBucketPolicy"},
		"no cluster":       {`"eks:ListPod*","eks:DescribePod*","iam:*"`, "allowed", "", "eks:DescribeCluster"},
		"no associations":  {`"eks:Describe*","iam:*"`, "allowed", "", "eks:ListPodIdentityAssociations"},
		"no association": {
			`"eks:DescribeCluster","eks:List*","iam:*"`, "allowed", "", "eks:DescribePodIdentityAssociation",
		},
		"no role":              {`"eks:*","iam:List*","iam:GetRolePolicy"`, "allowed", cani.Unknown, "iam:GetRole"},
		"no names of policies": {`"eks:*","iam:Get*","iam:ListAttached*"`, "allowed", cani.Unknown, "iam:ListRolePolicies"},
		"no policies":          {`"eks:*","iam:GetRole","iam:List*"`, "allowed", cani.Unknown, "iam:GetRolePolicy"},
		"no attached policies": {
			`"eks:*","iam:Get*","iam:ListRolePolicies"`, "allowed", cani.Unknown, "iam:ListAttachedRolePolicies",
		},
		"a Deny that is read": {
			`"eks:*","iam:Get*","iam:ListRolePolicies"`, "denied", cani.Denied, "denied by identity-based policy",
		},
		"a Deny that is not":        {`"eks:*","iam:GetRole","iam:List*"`, "denied", cani.Unknown, "iam:GetRolePolicy"},
		"trust that is not given":   {`"eks:*","iam:GetRole"`, "distrusted", cani.Denied, "role trust policy"},
		"target that trusts others": {`"eks:*","iam:GetRole"`, "chained", cani.Denied, "role trust policy"},
	} {
		t.Run(name, func(t *testing.T) {
			asked := asker(t, s.Limited("reader-"+strings.Map(nameByte, name), servertest.Allow("["+test.may+"]", "*", "")))
			got, err := asked.Pod(t.Context(), servertest.Cluster, subject(test.account), getObject)
			if test.want == "" {
				if err == nil || !strings.Contains(err.Error(), test.says) {
					t.Errorf("got %v and %v, want an error that says %q", got, err, test.says)
				}
				return
			}
			if err != nil || got.Verdict != test.want || test.says != "" && !strings.Contains(got.Broken().Why, test.says) {
				t.Errorf("got %v, %v; want %s because of %q", got, err, test.want, test.says)
			}
			if lacks := strings.Contains(test.says, ":"); err == nil && lacks && cmp.Diff([]string{test.says}, got.Broken().MissingPermissions) != "" {
				t.Errorf("says that the permissions %q are missing, want %q", got.Broken().MissingPermissions, test.says)
			}
		})
	}
}

// TestOtherAccounts asks about roles and resources of other accounts, of which only one of two sides can be known.
func TestOtherAccounts(t *testing.T) {
	s := newServer(t)
	target := func(in *eks.CreatePodIdentityAssociationInput) {
		in.TargetRoleArn = aws.String("arn:aws:iam::444455556666:role/far")
	}
	s.Associate(servertest.Cluster, account("near"), s.MakeRole("near", servertest.PodTrust, allow("s3:*", "*", "")), nil)
	s.Associate(servertest.Cluster, account("lets"), s.MakeRole("lets", servertest.PodTrust, allow("sts:*", "*", "")), target)
	s.Associate(servertest.Cluster, account("bars"), s.MakeRole("bars", servertest.PodTrust, allow("s3:*", "*", "")), target)
	queue := func(account string) string { return "arn:aws:sqs:us-west-2:" + account + ":queue" }
	for name, test := range map[string]struct {
		account, action, resource string
		want                      cani.Verdict
		broken                    string
	}{
		"no resource":                       {"lets", "sqs:ListQueues", "*", cani.Unknown, "target role"},
		"target role":                       {"lets", "s3:GetObject", object, cani.Denied, "resource policy"},
		"target role that is not permitted": {"bars", "s3:GetObject", object, cani.Denied, "target role"},
		"resource":                          {"near", "s3:GetObject", queue("444455556666"), cani.Unknown, "resource policy"},
		"resource that is not permitted":    {"near", "sqs:SendMessage", queue("444455556666"), cani.Denied, "permissions"},
		"own resource":                      {"near", "s3:GetObject", queue("111122223333"), cani.Allowed, ""},
		"AWS's resource":                    {"near", "s3:GetObject", queue("aws"), cani.Allowed, ""},
		"assumed role": {
			"near", "sts:AssumeRole", "arn:aws:iam::444455556666:role/far", cani.Denied, "assumed role",
		},
	} {
		t.Run(name, func(t *testing.T) {
			req := cani.Request{Action: test.action, Resource: test.resource}
			got, err := asker(t, s.Admin).Pod(t.Context(), servertest.Cluster, subject(test.account), req)
			if err != nil {
				t.Fatal(err)
			}
			broken := ""
			if got.Broken() != nil {
				broken = got.Broken().Name
			}
			if got.Verdict != test.want || broken != test.broken {
				t.Errorf("got %v, want %s by %q", got, test.want, test.broken)
			}
		})
	}
}

// awsIAM is an IAM that has what podid's would not take, or answers otherwise: documents that podid does not understand, short pages. It
// passes calls on, and changes or replaces the answers of some.
func awsIAM(t *testing.T, s *servertest.Server, answers map[string]func(body string, form url.Values) string) aws.Config {
	t.Helper()
	to, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to); r.Out.Host = r.In.Host }, // the host is signed
	}
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		form, _ := url.ParseQuery(string(body)) // calls of EKS have no form
		change, ok := answers[form.Get("Action")]
		if !ok {
			proxy.ServeHTTP(w, r)
			return
		}
		recorded := httptest.NewRecorder()
		proxy.ServeHTTP(recorded, r)
		_, _ = io.WriteString(w, change(recorded.Body.String(), form))
	}))
	t.Cleanup(front.Close)
	cfg := s.Admin.Copy()
	cfg.BaseEndpoint = &front.URL
	return cfg
}

// managed answers as if each role had these managed policies attached, and a boundary if it is not empty.
func managed(boundary string, documents map[string]string) map[string]func(string, url.Values) string {
	const prefix = "arn:aws:iam::aws:policy/job/"
	return map[string]func(string, url.Values) string{
		"GetRole": func(body string, _ url.Values) string {
			if boundary == "" {
				return body
			}
			return strings.Replace(body, "</Role>", "<PermissionsBoundary><PermissionsBoundaryType>Policy</PermissionsBoundaryType><PermissionsBoundaryArn>"+
				prefix+boundary+"</PermissionsBoundaryArn></PermissionsBoundary></Role>", 1)
		},
		"ListAttachedRolePolicies": func(_ string, form url.Values) string { // two pages
			name, end := "first", "<IsTruncated>true</IsTruncated><Marker>more</Marker>"
			if form.Get("Marker") == "more" {
				name, end = "second", "<IsTruncated>false</IsTruncated>"
			}
			return "<R><ListAttachedRolePoliciesResult><AttachedPolicies><member><PolicyName>" + name + "</PolicyName><PolicyArn>" + prefix + name +
				"</PolicyArn></member></AttachedPolicies>" + end + "</ListAttachedRolePoliciesResult></R>"
		},
		"GetPolicy": func(_ string, form url.Values) string {
			return "<R><GetPolicyResult><Policy><DefaultVersionId>v7</DefaultVersionId></Policy></GetPolicyResult></R>"
		},
		"GetPolicyVersion": func(_ string, form url.Values) string {
			document := documents[strings.TrimPrefix(form.Get("PolicyArn"), prefix)]
			if form.Get("VersionId") != "v7" {
				document = "another version"
			}
			return "<R><GetPolicyVersionResult><PolicyVersion><Document>" + url.PathEscape(document) +
				"</Document></PolicyVersion></GetPolicyVersionResult></R>"
		},
	}
}

func TestManagedPolicies(t *testing.T) {
	s := newServer(t)
	s.Associate(servertest.Cluster, account("web"), s.MakeRole("web", servertest.PodTrust, ""), nil)
	nothing := allow("sqs:*", "*", "")
	for name, test := range map[string]struct {
		boundary  string
		documents map[string]string
		want      cani.Verdict
		broken    string
		policy    string // that decided the broken link
	}{
		"allowed by the second": {"", map[string]string{"first": nothing, "second": allowAll}, cani.Allowed, "", ""},
		"denied by the second": {
			"", map[string]string{"first": allowAll, "second": allowDeny("s3:GetObject")}, cani.Denied, "permissions", "second",
		},
		"by neither": {"", map[string]string{"first": nothing, "second": nothing}, cani.Denied, "permissions", ""},
		"boundary": {
			"bound", map[string]string{"first": nothing, "second": allowAll, "bound": allow("s3:*", "*", "")}, cani.Allowed, "",
			"",
		},
		"boundary does not allow": {
			"bound", map[string]string{"first": nothing, "second": allowAll, "bound": nothing}, cani.Denied,
			"permissions boundary", "",
		},
		"boundary denies": {
			"bound", map[string]string{"first": nothing, "second": allowAll, "bound": allowDeny("s3:*")}, cani.Denied, "permissions boundary", "bound",
		},
		"boundary grants nothing": {
			"bound", map[string]string{"first": nothing, "second": nothing, "bound": allowAll}, cani.Denied, "permissions", "",
		},
		"not understood": {"", map[string]string{"first": allowAll, "second": "{"}, cani.Unknown, "permissions", ""},
		"boundary not understood": {
			"bound", map[string]string{"first": allowAll, "second": allowAll, "bound": "{"}, cani.Unknown, "permissions boundary",
			"",
		},
		"not understood, but deny": {
			"", map[string]string{"first": "{", "second": allowDeny("s3:*")}, cani.Denied, "permissions", "second",
		},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := awsIAM(t, s, managed(test.boundary, test.documents))
			answers, err := asker(t, cfg).Who(t.Context(), servertest.Cluster, getObject)
			if err != nil || len(answers) != 1 {
				t.Fatalf("got %v, %v; want one answer", answers, err)
			}
			got, broken := answers[0], cani.Link{}
			if got.Broken() != nil {
				broken = *got.Broken()
			}
			if got.Verdict != test.want || broken.Name != test.broken || broken.Policy != test.policy ||
				test.want == cani.Denied && !strings.Contains(broken.Why, texts[broken.Name]) {
				t.Errorf("got %v, want %s by %q of %q", got, test.want, test.policy, test.broken)
			}
		})
	}
}

func TestWho(t *testing.T) {
	s := newServer(t)
	ask := func() []string {
		t.Helper()
		answers, err := asker(t, s.Admin).Who(t.Context(), servertest.Cluster, getObject)
		if err != nil {
			t.Fatal(err)
		}
		var told []string
		for _, a := range answers {
			told = append(told, string(a.Verdict)+" "+a.Namespace+"/"+a.ServiceAccount+" "+a.Role)
		}
		return told
	}
	if got := ask(); got != nil {
		t.Errorf("without associations: %q", got)
	}
	reads := s.MakeRole("reads", servertest.PodTrust, allow("s3:GetObject", bucket+"/${aws:PrincipalTag/kubernetes-namespace}/*", ""))
	writes := s.MakeRole("writes", servertest.PodTrust, allow("s3:PutObject", "*", ""))
	far := "arn:aws:iam::444455556666:role/far"
	s.Associate(servertest.Cluster, account("reader"), reads, nil)
	s.Associate(servertest.Cluster, identity.ServiceAccount{Namespace: "b", Name: "reader"}, reads, nil) // whose tag leads elsewhere
	s.Associate(servertest.Cluster, account("writer"), writes, nil)
	s.Associate(servertest.Cluster, account("far"), s.MakeRole("lets", servertest.PodTrust, allow("sts:*", "*", "")),
		func(in *eks.CreatePodIdentityAssociationInput) { in.TargetRoleArn = &far })
	s.Associate(servertest.Other, account("elsewhere"), reads, nil)
	want := []string{"denied a/far " + far, "allowed a/reader " + reads, "denied a/writer " + writes, "denied b/reader " + reads}
	if diff := cmp.Diff(want, ask()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestRole(t *testing.T) {
	s := newServer(t)
	role := s.MakeRole("web", servertest.TrustAdmin, allow("s3:GetObject", "*", `{"StringEquals":{"aws:PrincipalTag/team":"web"}}`))
	asked := asker(t, s.Admin)
	tagged := getObject
	tagged.Context = map[string][]string{"aws:PrincipalTag/team": {"web"}}
	for name, test := range map[string]struct {
		role string
		req  cani.Request
		want cani.Verdict
	}{
		"without the tag": {role, getObject, cani.Denied},
		"with the tag":    {role, tagged, cani.Allowed},
		"no such role":    {role + "s", tagged, cani.Denied},
		"another account": {"arn:aws:iam::444455556666:role/web", tagged, cani.Denied}, // no policy of the bucket lets it
		"another path":    {"arn:aws:iam::111122223333:role/team/web", tagged, cani.Denied},
	} {
		if got, err := asked.Principal(t.Context(), test.role, test.req); err != nil || got.Verdict != test.want {
			t.Errorf("%s: got %v, %v; want %s", name, got, err, test.want)
		}
	}
	if got, err := asked.Principal(t.Context(), "web", getObject); err == nil {
		t.Errorf("a name that is no ARN: got %v", got)
	}
}

// TestNoQuestion wants an error for what cannot be asked, and never an answer.
func TestNoQuestion(t *testing.T) {
	s := servertest.New(t, nil)
	asked := asker(t, s.Admin)
	for name, change := range map[string]func(*string, *identity.Subject, *cani.Request){
		"unknown cluster": func(cluster *string, _ *identity.Subject, _ *cani.Request) { *cluster = "none" },
		"no cluster":      func(cluster *string, _ *identity.Subject, _ *cani.Request) { *cluster = "" },
		"namespace":       func(_ *string, pod *identity.Subject, _ *cani.Request) { pod.Namespace = "A" },
		"service account": func(_ *string, pod *identity.Subject, _ *cani.Request) { pod.Name = "" },
		"pod":             func(_ *string, pod *identity.Subject, _ *cani.Request) { pod.PodName = "a/b" },
		"action":          func(_ *string, _ *identity.Subject, req *cani.Request) { req.Action = "GetObject" },
		"all actions":     func(_ *string, _ *identity.Subject, req *cani.Request) { req.Action = "s3:*" },
		"resource":        func(_ *string, _ *identity.Subject, req *cani.Request) { req.Resource = "data" },
		"all resources":   func(_ *string, _ *identity.Subject, req *cani.Request) { req.Resource = bucket + "/*" },
		"condition key": func(_ *string, _ *identity.Subject, req *cani.Request) {
			req.Context = map[string][]string{"prefix": {"a"}}
		},
	} {
		cluster, pod, req := servertest.Cluster, subject("web"), getObject
		change(&cluster, &pod, &req)
		if got, err := asked.Pod(t.Context(), cluster, pod, req); err == nil {
			t.Errorf("%s: got %v", name, got)
		}
	}
	got, err := asked.Pod(t.Context(), servertest.Cluster, subject("web"), getObject)
	if err != nil || got.Verdict != cani.Denied || !strings.Contains(got.String(), "aws eks create-pod-identity-association --cluster-name local") {
		t.Errorf("no association: got %v, %v; want a denial with what to do", got, err)
	}
	s.Stop()
	if got, err := asked.Pod(t.Context(), servertest.Cluster, subject("web"), getObject); err == nil {
		t.Errorf("from a server that has ended: got %v", got)
	}
}

// TestUnreadUser asks about a user as somebody who may not read all of it.
func TestUnreadUser(t *testing.T) {
	s := newServer(t)
	client := iam.NewFromConfig(s.Admin)
	user, group, text := aws.String("ann"), aws.String("readers"), allowAll
	_, err := client.CreateUser(t.Context(), &iam.CreateUserInput{UserName: user})
	if err == nil {
		_, err = client.CreateGroup(t.Context(), &iam.CreateGroupInput{GroupName: group})
	}
	if err == nil {
		_, err = client.PutGroupPolicy(t.Context(), &iam.PutGroupPolicyInput{GroupName: group, PolicyName: aws.String("shared"), PolicyDocument: &text})
	}
	if err == nil {
		_, err = client.AddUserToGroup(t.Context(), &iam.AddUserToGroupInput{GroupName: group, UserName: user})
	}
	if err != nil {
		t.Fatal(err)
	}
	const denied = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["iam:*","s3:GetBucketPolicy"],"Resource":"*"},{"Effect":"Deny","Action":"DENIED","Resource":"*"}]}`
	for permission, want := range map[string]cani.Verdict{
		"iam:GetUser": cani.Unknown, "iam:ListUserPolicies": cani.Unknown, "iam:ListAttachedUserPolicies": cani.Unknown, "iam:ListGroupsForUser": cani.Unknown,
		"iam:ListGroupPolicies": cani.Unknown, "iam:GetGroupPolicy": cani.Unknown, "iam:ListAttachedGroupPolicies": cani.Unknown,
		"s3:GetBucketPolicy": cani.Unknown, "iam:GetRole": cani.Allowed,
	} {
		asked := asker(t, s.Limited("without-"+strings.ReplaceAll(permission, ":", "-"), strings.Replace(denied, "DENIED", permission, 1)))
		got, err := asked.Principal(t.Context(), userARN+"ann", getObject)
		if err != nil || got.Verdict != want {
			t.Errorf("without %s: got %v, %v; want %s", permission, got, err, want)
		} else if want == cani.Unknown && cmp.Diff([]string{permission}, got.Broken().MissingPermissions) != "" {
			t.Errorf("without %s: says that %q are missing", permission, got.Broken().MissingPermissions)
		}
	}
}
