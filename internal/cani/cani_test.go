package cani_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"

	"github.com/podid/podid/internal/cani"
	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/server"
	"github.com/podid/podid/internal/server/servertest"
)

const (
	cluster  = "long-cluster-name"
	bucket   = "arn:aws:s3:::data"
	object   = bucket + "/a/x.txt"
	podName  = "web-0-with-a-long-name"
	other    = "arn:aws:iam::" + servertest.AccountID + ":role/other"  // trusts the account
	closed   = "arn:aws:iam::" + servertest.AccountID + ":role/closed" // trusts pods only
	allowAll = servertest.AllowAll
)

// cases are questions and what podid itself does. Each has a service account, a role and an association of its own.
var cases = map[string]struct {
	trust   string                                                // of the role, PodTrust if empty
	policy  string                                                // of the role
	bucket  string                                                // statements of the bucket's policy; ROLE is the role that reads
	target  string                                                // trust policy of a target role, which has the policy then; ROLE is the first role's ARN
	change  func(*eks.CreatePodIdentityAssociationInput)          // of the association
	after   func(t *testing.T, s *servertest.Server, role string) // once it is there
	action  string                                                // s3:GetObject if empty
	on      string                                                // resource, object if empty
	context map[string][]string                                   // of the request
	want    cani.Verdict                                          //
	broken  string                                                // name of the first broken link
	keys    []string                                              // missing ones
}{
	"plain allow": {policy: allow("s3:GetObject", object, ""), want: cani.Allowed},
	"another action": {
		policy: allow("s3:GetObject", object, ""), action: "s3:PutObject", want: cani.Denied, broken: "permissions",
	},
	"another resource":       {policy: allow("s3:*", bucket+"/b/*", ""), want: cani.Denied, broken: "permissions"},
	"no policy at all":       {want: cani.Denied, broken: "permissions"},
	"explicit deny":          {policy: allowDeny("s3:GetObject"), want: cani.Denied, broken: "permissions"},
	"deny of another action": {policy: allowDeny("s3:PutObject"), want: cani.Allowed},
	"policy variable": {
		policy: allow("s3:GetObject", bucket+"/${aws:PrincipalTag/kubernetes-namespace}/*", ""), want: cani.Allowed,
	},
	"every session tag": {policy: allow("s3:GetObject", object, tagConditions("aws:PrincipalTag/")), want: cani.Allowed},
	"principal keys":    {policy: allow("s3:GetObject", object, principalConditions), want: cani.Allowed},
	"another namespace's tag": {
		policy: allow("s3:GetObject", object, `{"StringEquals":{"aws:PrincipalTag/kubernetes-namespace":"b"}}`),
		want:   cani.Denied, broken: "permissions",
	},
	"no session tags": {
		policy: allow("s3:GetObject", object, `{"Null":{"aws:PrincipalTag/kubernetes-namespace":"true"}}`), change: noTags, want: cani.Allowed,
	},
	"session tags missed": {
		policy: allow("s3:GetObject", object, `{"StringEquals":{"aws:PrincipalTag/kubernetes-namespace":"a"}}`), change: noTags,
		want: cani.Denied, broken: "permissions", keys: []string{"aws:PrincipalTag/kubernetes-namespace"},
	},
	"tag of the role": {
		policy: allow("s3:GetObject", object, `{"StringEquals":{"aws:PrincipalTag/team":"web"}}`), after: tagRole, want: cani.Allowed,
	},
	"session tag over the role's": {
		policy: allow("s3:GetObject", object, `{"StringEquals":{"aws:PrincipalTag/kubernetes-namespace":"role"}}`), after: tagRole,
		want: cani.Denied, broken: "permissions",
	},

	"trust conditions":   {trust: trust(trustConditions), policy: allowAll, want: cani.Allowed},
	"trust of every tag": {trust: trust(tagConditions("aws:RequestTag/")), policy: allowAll, want: cani.Allowed},
	"trust of another source": {
		trust: trust(`{"StringEquals":{"aws:SourceAccount":"444455556666"}}`), policy: allowAll, want: cani.Denied,
		broken: "trust policy",
	},
	"trust of a role's tag": {
		trust: trust(`{"StringEquals":{"iam:ResourceTag/team":"web"}}`), policy: allowAll, after: tagRole, want: cani.Allowed,
	},
	"no tag session": {
		policy: allowAll, after: setTrust(servertest.Trust(pods, `"sts:AssumeRole"`, "")), want: cani.Denied,
		broken: "trust policy",
	},
	"no tag session needed": {
		policy: allowAll, after: setTrust(servertest.Trust(pods, `"sts:AssumeRole"`, "")), change: noTags, want: cani.Allowed,
	},
	"trust of somebody else": {policy: allowAll, after: setTrust(servertest.TrustAdmin), want: cani.Denied, broken: "trust policy"},
	"role is gone":           {after: deleteRole, want: cani.Denied, broken: "trust policy"},

	"session policy": {policy: allowAll, change: sessionPolicy(allow("s3:GetObject", object, "")), want: cani.Allowed},
	"session policy of another action": {
		policy: allowAll, change: sessionPolicy(allow("s3:PutObject", object, "")), want: cani.Denied, broken: "session policy",
	},
	"session policy denies": {
		policy: allowAll, change: sessionPolicy(allowDeny("s3:GetObject")), want: cani.Denied, broken: "session policy",
	},
	"session policy grants none": {change: sessionPolicy(allowAll), want: cani.Denied, broken: "permissions"},

	"target role": {target: trustRole(""), policy: allowAll, want: cani.Allowed},
	"target role by external id": {
		target: trustRole(`{"StringEquals":{"sts:ExternalId":"us-west-2/111122223333/long-cluster-name/a/ACCOUNT"}}`),
		policy: allowAll, want: cani.Allowed,
	},
	"target role of another external id": {
		target: trustRole(`{"StringEquals":{"sts:ExternalId":"x"}}`), policy: allowAll, want: cani.Denied, broken: "target role",
	},
	"target role by inherited tags": {target: trustRole(tagConditions("aws:RequestTag/")), policy: allowAll, want: cani.Allowed},
	"target role's own tags": {
		target: trustRole(""), policy: allow("s3:GetObject", object, tagConditions("aws:PrincipalTag/")), want: cani.Allowed,
	},
	"target role's permissions": {
		target: trustRole(""), policy: allow("s3:PutObject", object, ""), want: cani.Denied, broken: "permissions",
	},
	"target role does not trust": {target: servertest.TrustAdmin, policy: allowAll, want: cani.Denied, broken: "target role"},
	"target role and session policy": {
		target: trustRole(""), policy: allowAll, change: sessionPolicy(allow("s3:PutObject", object, "")), want: cani.Denied, broken: "session policy",
	},

	"managed policy of AWS": {after: attach("arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess"), want: cani.Allowed},
	"managed policy of AWS, another action": {
		after: attach("arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess"), action: "s3:PutObject", want: cani.Denied, broken: "permissions",
	},
	"boundary": {policy: allowAll, after: bound("arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess"), want: cani.Allowed},
	"boundary of another action": {
		policy: allowAll, after: bound("arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess"), action: "s3:PutObject",
		want: cani.Denied, broken: "permissions boundary",
	},
	"boundary grants nothing": {
		after: bound("arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess"), want: cani.Denied, broken: "permissions",
	},

	"bucket policy": {bucket: onBucket("Allow", `{"AWS":"ROLE"}`, ""), want: cani.Allowed},
	"bucket policy besides the role's": {
		policy: allow("s3:GetObject", object, ""), bucket: onBucket("Allow", `{"AWS":"ROLE"}`, ""), want: cani.Allowed,
	},
	"bucket policy for everybody": {bucket: onBucket("Allow", `"*"`, ""), want: cani.Allowed},
	"bucket policy for the account": {
		bucket: onBucket("Allow", `{"AWS":"111122223333"}`, ""), want: cani.Denied, broken: "permissions",
	},
	"bucket policy for somebody else": {
		bucket: onBucket("Allow", `{"AWS":"`+servertest.AdminARN+`"}`, ""), want: cani.Denied, broken: "permissions",
	},
	"bucket policy denies": {
		policy: allowAll, bucket: onBucket("Deny", `{"AWS":"ROLE"}`, ""), want: cani.Denied, broken: "resource policy",
	},
	"bucket policy, but the role denies": {
		policy: allowDeny("s3:GetObject"), bucket: onBucket("Allow", `{"AWS":"ROLE"}`, ""), want: cani.Denied, broken: "permissions",
	},
	"bucket policy by every session tag": {
		bucket: onBucket("Allow", `{"AWS":"ROLE"}`, tagConditions("aws:PrincipalTag/")), want: cani.Allowed,
	},
	"bucket policy by another tag": {
		bucket: onBucket("Allow", `{"AWS":"ROLE"}`, `{"StringEquals":{"aws:PrincipalTag/kubernetes-namespace":"b"}}`), want: cani.Denied, broken: "permissions",
	},
	"bucket policy by the principal's ARN": {
		bucket: onBucket("Allow", `"*"`, `{"ArnEquals":{"aws:PrincipalArn":"ROLE"}}`), after: bound("arn:aws:iam::aws:policy/AmazonDynamoDBReadOnlyAccess"),
		want: cani.Allowed,
	},
	"bucket policy beyond the boundary": {
		bucket: onBucket("Allow", `{"AWS":"ROLE"}`, ""), after: bound("arn:aws:iam::aws:policy/AmazonDynamoDBReadOnlyAccess"),
		want: cani.Denied, broken: "permissions boundary",
	},
	"bucket policy beyond the session policy": {
		bucket: onBucket("Allow", `{"AWS":"ROLE"}`, ""), change: sessionPolicy(allow("s3:PutObject", object, "")), want: cani.Denied, broken: "session policy",
	},
	"bucket policy for the target role": {
		target: trustRole(""), bucket: onBucket("Allow", `{"AWS":"ROLE-target"}`, ""), want: cani.Allowed,
	},
	"bucket policy for the first role only": {
		target: trustRole(""), bucket: onBucket("Allow", `{"AWS":"ROLE"}`, ""), want: cani.Denied, broken: "permissions",
	},
	"owner of the resource": {
		policy: allow("s3:GetObject", object, `{"StringEquals":{"aws:ResourceAccount":"111122223333","s3:ResourceAccount":"111122223333"}}`), want: cani.Allowed,
	},

	"condition on the request": {
		policy: allow("s3:ListBucket", bucket, `{"StringEquals":{"s3:prefix":"a/"}}`), action: "s3:ListBucket", on: bucket,
		context: map[string][]string{"s3:prefix": {"a/"}}, want: cani.Allowed,
	},
	"condition on another request": {
		policy: allow("s3:ListBucket", bucket, `{"StringEquals":{"s3:prefix":"b/"}}`), action: "s3:ListBucket", on: bucket,
		context: map[string][]string{"s3:prefix": {"a/"}}, want: cani.Denied, broken: "permissions",
	},
	"request's region": {
		policy: allow("s3:GetObject", object, `{"StringEquals":{"aws:RequestedRegion":"us-west-2"},"Bool":{"aws:SecureTransport":"false"}}`),
		want:   cani.Allowed,
	},
	"assume a role":   {policy: allowAll, action: "sts:AssumeRole", on: other, want: cani.Allowed},
	"caller identity": {action: "sts:GetCallerIdentity", on: "*", policy: allowDeny("sts:*"), want: cani.Allowed},
	"assume a role, no permission": {
		policy: allow("s3:*", "*", ""), action: "sts:AssumeRole", on: other, want: cani.Denied, broken: "assumed role",
	},
	"assume a role, tags not allowed": {
		policy: allow("sts:AssumeRole", "*", ""), action: "sts:AssumeRole", on: other, want: cani.Denied, broken: "assumed role",
	},
	"assume a role that does not trust": {
		policy: allowAll, action: "sts:AssumeRole", on: closed, want: cani.Denied, broken: "assumed role",
	},
	"assume a role that is not there": {
		policy: allowAll, action: "sts:AssumeRole", on: other + "s", want: cani.Denied, broken: "assumed role",
	},
}

// texts are what broken links say.
var texts = map[string]string{"permissions": "identity-based policy", "session policy": "session policy", "permissions boundary": "permissions boundary",
	"resource policy": `resource-based policy "data"`}

const pods = `{"Service":"pods.eks.amazonaws.com"}`

const principalConditions = `{"StringLike":{"aws:userid":"AROA*:eks-long-clust-web-0-with-a-????????-????-????-????-????????????",` +
	`"aws:PrincipalArn":"arn:aws:iam::111122223333:role/*"},"StringEquals":{"aws:PrincipalAccount":"111122223333","aws:PrincipalType":"AssumedRole"},` +
	`"Bool":{"aws:PrincipalIsAWSService":"false"},"DateGreaterThan":{"aws:TokenIssueTime":"2020-01-01T00:00:00Z","aws:CurrentTime":"2020-01-01T00:00:00Z"},` +
	`"Null":{"aws:username":"true","aws:SourceIdentity":"true","aws:RequestTag/kubernetes-namespace":"true","aws:SourceArn":"true"}}`

const trustConditions = `{"StringLike":{"sts:RoleSessionName":"eks-long-clust-web-0-with-a-????????-????-????-????-????????????"},` +
	`"ArnEquals":{"aws:SourceArn":"arn:aws:eks:us-west-2:111122223333:cluster/long-cluster-name"},"StringEquals":{"aws:SourceAccount":"111122223333",` +
	`"aws:PrincipalServiceName":"pods.eks.amazonaws.com"},"Bool":{"aws:PrincipalIsAWSService":"true"},` +
	`"ForAnyValue:StringEquals":{"aws:TagKeys":"kubernetes-pod-uid","sts:TransitiveTagKeys":"eks-cluster-arn"},` +
	`"Null":{"aws:PrincipalArn":"true","sts:ExternalId":"true","aws:userid":"true"}}`

// tagConditions asks for the exact value of each tag that EKS Auth gives; POD, UID and ACCOUNT are filled in by the test.
func tagConditions(prefix string) string {
	var conditions []string
	for _, pair := range [][2]string{
		{"eks-cluster-arn", "arn:aws:eks:us-west-2:111122223333:cluster/long-cluster-name"}, {"eks-cluster-name", cluster}, {"kubernetes-namespace", "a"},
		{"kubernetes-service-account", "ACCOUNT"}, {"kubernetes-pod-name", podName}, {"kubernetes-pod-uid", "UID"},
	} {
		conditions = append(conditions, fmt.Sprintf("%q:%q", prefix+pair[0], pair[1]))
	}
	return `{"StringEquals":{` + strings.Join(conditions, ",") + `}}`
}

func allow(action, resource, condition string) string {
	return servertest.Allow(`"`+action+`"`, resource, condition)
}

func allowDeny(denied string) string {
	return `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Deny","Action":"` + denied + `","Resource":"*"}]}`
}

// onBucket is a statement of a bucket's policy about its objects.
func onBucket(effect, principal, condition string) string {
	if condition != "" {
		condition = `,"Condition":` + condition
	}
	return `{"Effect":"` + effect + `","Principal":` + principal + `,"Action":"s3:GetObject","Resource":"` + bucket + `/*"` + condition + `}`
}

func trust(condition string) string {
	return servertest.Trust(pods, `["sts:AssumeRole","sts:TagSession"]`, condition)
}

func trustRole(condition string) string {
	return servertest.Trust(`{"AWS":"ROLE"}`, `["sts:AssumeRole","sts:TagSession"]`, condition)
}

func noTags(in *eks.CreatePodIdentityAssociationInput) { in.DisableSessionTags = aws.Bool(true) }

func sessionPolicy(text string) func(*eks.CreatePodIdentityAssociationInput) {
	return func(in *eks.CreatePodIdentityAssociationInput) {
		in.DisableSessionTags, in.Policy = aws.Bool(true), &text
	}
}

func setTrust(text string) func(*testing.T, *servertest.Server, string) {
	return func(t *testing.T, s *servertest.Server, role string) {
		_, err := iam.NewFromConfig(s.Admin).UpdateAssumeRolePolicy(t.Context(), &iam.UpdateAssumeRolePolicyInput{RoleName: &role, PolicyDocument: &text})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func tagRole(t *testing.T, s *servertest.Server, role string) {
	_, err := iam.NewFromConfig(s.Admin).TagRole(t.Context(), &iam.TagRoleInput{RoleName: &role, Tags: tags("team", "web", "kubernetes-namespace", "role")})
	if err != nil {
		t.Fatal(err)
	}
}

func attach(policy string) func(*testing.T, *servertest.Server, string) {
	return func(t *testing.T, s *servertest.Server, role string) {
		_, err := iam.NewFromConfig(s.Admin).AttachRolePolicy(t.Context(), &iam.AttachRolePolicyInput{RoleName: &role, PolicyArn: &policy})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func bound(policy string) func(*testing.T, *servertest.Server, string) {
	return func(t *testing.T, s *servertest.Server, role string) {
		_, err := iam.NewFromConfig(s.Admin).PutRolePermissionsBoundary(t.Context(),
			&iam.PutRolePermissionsBoundaryInput{RoleName: &role, PermissionsBoundary: &policy})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func deleteRole(t *testing.T, s *servertest.Server, role string) {
	if _, err := iam.NewFromConfig(s.Admin).DeleteRole(t.Context(), &iam.DeleteRoleInput{RoleName: &role}); err != nil {
		t.Fatal(err)
	}
}

// TestPod asks about pods, and then has a pod do it, from its token to the request: both must come to what the table says.
func TestPod(t *testing.T) {
	s := newServer(t)
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			account := identity.ServiceAccount{Namespace: "a", Name: strings.Trim(strings.Map(nameByte, name), "-")}
			token := s.Token(cluster, account, podName)
			pod := identity.Subject{ServiceAccount: account, PodName: podName, PodUID: uidOf(t, token)}
			fill := strings.NewReplacer("ACCOUNT", account.Name, "UID", pod.PodUID, "ROLE", servertest.RoleARN(account.Name))
			policy, change := test.policy, test.change
			if test.target != "" {
				target := s.MakeRole(account.Name+"-target", trust(""), fill.Replace(policy))
				policy = allow("sts:*", target, "")
				change = func(in *eks.CreatePodIdentityAssociationInput) {
					in.TargetRoleArn = &target
					if test.change != nil {
						test.change(in)
					}
				}
			}
			if test.trust == "" {
				test.trust = servertest.PodTrust
			}
			role := s.MakeRole(account.Name, fill.Replace(test.trust), fill.Replace(policy))
			if test.target != "" { // which may name the first role only now that it is there
				setTrust(fill.Replace(test.target))(t, s, account.Name+"-target")
			}
			s.Associate(cluster, account, role, change)
			setBucketPolicy(t, s, fill.Replace(test.bucket))
			if test.after != nil {
				test.after(t, s, account.Name)
			}
			req := cani.Request{Action: orElse(test.action, "s3:GetObject"), Resource: orElse(test.on, object), Context: test.context}

			if real := does(t, s, token, req); real != (test.want == cani.Allowed) {
				t.Errorf("the pod itself may: %v, want %s", real, test.want)
			}
			got, err := asker(t, s.Admin).Pod(t.Context(), cluster, pod, req)
			if err != nil {
				t.Fatal(err)
			}
			if got.Verdict != test.want {
				t.Errorf("got %v, want %s", got, test.want)
			}
			if broken := got.Broken(); (broken == nil) != (test.broken == "") || broken != nil && broken.Name != test.broken {
				t.Errorf("broken link %+v, want %q in\n%v", broken, test.broken, got)
			} else if broken != nil && cmp.Diff(test.keys, broken.MissingKeys) != "" {
				t.Errorf("missing keys %q, want %q", broken.MissingKeys, test.keys)
			}
			if says := texts[test.broken]; got.Broken() != nil && !strings.Contains(got.Broken().Why, says) {
				t.Errorf("the broken link says %q, want %q", got.Broken().Why, says)
			}
		})
	}
}

func newServer(t *testing.T, changes ...func(*server.Config)) *servertest.Server {
	s := servertest.New(t, func(cfg *server.Config) {
		cfg.BuiltInClusters = append(cfg.BuiltInClusters, cluster)
		for _, change := range changes {
			change(cfg)
		}
	})
	client := s3.NewFromConfig(s.Admin, func(o *s3.Options) { o.UsePathStyle = true })
	if _, err := client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String("data")}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("data"), Key: aws.String("a/x.txt"), Body: strings.NewReader("x")}); err != nil {
		t.Fatal(err)
	}
	s.MakeRole("other", servertest.Trust(`{"AWS":"`+servertest.AccountID+`"}`, `["sts:AssumeRole","sts:TagSession"]`, ""), "")
	s.MakeRole("closed", servertest.PodTrust, "")
	return s
}

// setBucketPolicy gives the bucket a policy of these statements, or none.
func setBucketPolicy(t *testing.T, s *servertest.Server, statements string) {
	t.Helper()
	client := s3.NewFromConfig(s.Admin, func(o *s3.Options) { o.UsePathStyle = true })
	var err error
	if statements == "" {
		_, err = client.DeleteBucketPolicy(t.Context(), &s3.DeleteBucketPolicyInput{Bucket: aws.String("data")})
	} else {
		text := `{"Version":"2012-10-17","Statement":[` + statements + `]}`
		_, err = client.PutBucketPolicy(t.Context(), &s3.PutBucketPolicyInput{Bucket: aws.String("data"), Policy: &text})
	}
	if err != nil {
		t.Fatal(err)
	}
}

func asker(t *testing.T, cfg aws.Config) *cani.Asker {
	t.Helper()
	return newAsker(t, cani.Config{AWS: cfg, Now: time.Now})
}

// does exchanges the token and sends the request, and tells whether it was let.
func does(t *testing.T, s *servertest.Server, token string, req cani.Request) bool {
	t.Helper()
	answer := s.Send(servertest.ExchangeCall(cluster, token))
	if answer.Status != http.StatusOK {
		if code := s.Refusal(answer).Code; code != "AccessDeniedException" {
			t.Fatalf("exchanging the token: %s", answer.Body)
		}
		return false
	}
	var exchange servertest.Exchange
	answer.JSON(t, &exchange)
	pod := exchange.As(s)
	client := s3.NewFromConfig(pod, func(o *s3.Options) { o.UsePathStyle = true })
	var err error
	switch req.Action {
	case "s3:GetObject":
		_, err = client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("data"), Key: aws.String("a/x.txt")})
	case "s3:PutObject":
		_, err = client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("data"), Key: aws.String("a/x.txt"), Body: strings.NewReader("y")})
	case "s3:ListBucket":
		_, err = client.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: aws.String("data"), Prefix: &req.Context["s3:prefix"][0]})
	case "sts:AssumeRole":
		_, err = sts.NewFromConfig(pod).AssumeRole(t.Context(), &sts.AssumeRoleInput{RoleArn: &req.Resource, RoleSessionName: aws.String("test")})
	case "sts:GetCallerIdentity":
		_, err = sts.NewFromConfig(pod).GetCallerIdentity(t.Context(), nil)
	default:
		t.Fatalf("no request for %s", req.Action)
	}
	var refused smithy.APIError
	if err != nil && (!errors.As(err, &refused) || refused.ErrorCode() != "AccessDenied") {
		t.Fatal(err)
	}
	return err == nil
}

// uidOf reads the pod's UID from a service-account token.
func uidOf(t *testing.T, token string) string {
	t.Helper()
	var claims struct {
		Kubernetes struct {
			Pod struct{ UID string } `json:"pod"`
		} `json:"kubernetes.io"`
	}
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	if err == nil {
		err = json.Unmarshal(payload, &claims)
	}
	if err != nil || claims.Kubernetes.Pod.UID == "" {
		t.Fatalf("no pod in the token: %v", err)
	}
	return claims.Kubernetes.Pod.UID
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// nameByte makes a name of Kubernetes out of one of a test.
func nameByte(r rune) rune {
	if 'a' <= r && r <= 'z' {
		return r
	}
	return '-'
}

func tags(pairs ...string) (list []types.Tag) {
	for i := 0; i < len(pairs); i += 2 {
		list = append(list, types.Tag{Key: &pairs[i], Value: &pairs[i+1]})
	}
	return list
}
