package eksauth_test

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/google/go-cmp/cmp"

	"github.com/podid/podid/internal/agent"
	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/server"
	"github.com/podid/podid/internal/server/servertest"
)

var carts = identity.ServiceAccount{Namespace: "carts", Name: "carts"}

const (
	pod    = "carts-7d9c5b6f4-x2x9z"
	podUID = "5a20f883-0000-4000-8000-31243d749352" // that servertest gives a pod of this name
)

// policyOf is a policy document with these statements.
func policyOf(statements ...string) string {
	return `{"Version":"2012-10-17","Statement":[` + strings.Join(statements, ",") + `]}`
}

// trustIf is a trust policy for EKS Pod Identity under a condition.
func trustIf(condition string) string {
	return policyOf(`{"Effect":"Allow","Principal":{"Service":"pods.eks.amazonaws.com"},"Action":["sts:AssumeRole","sts:TagSession"],"Condition":` + condition + `}`)
}

// refused checks that exchanging the token is refused, with a message that has the names in it and no part of the token.
func refused(t *testing.T, s *servertest.Server, token string, status int, code string, names ...string) {
	t.Helper()
	gotStatus, got := s.ExchangeRefused(servertest.Cluster, token)
	if gotStatus != status || got.Code != code {
		t.Errorf("got %d %+v, want %d %s", gotStatus, got, status, code)
	}
	for _, name := range names {
		if !strings.Contains(got.Message, name) {
			t.Errorf("the message %q does not have %q", got.Message, name)
		}
	}
	for part := range strings.SplitSeq(token, ".") {
		if len(part) > 20 && strings.Contains(got.Message, part) {
			t.Error("the message holds a part of the token")
		}
	}
}

// mayList tells whether credentials may list a bucket of the embedded S3.
func mayList(t *testing.T, cfg aws.Config, bucket string) bool {
	t.Helper()
	_, err := s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = true }).ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: &bucket})
	if err != nil && !strings.Contains(err.Error(), "AccessDenied") {
		t.Fatal(err)
	}
	return err == nil
}

func makeBucket(t *testing.T, s *servertest.Server, name string) {
	t.Helper()
	_, err := s3.NewFromConfig(s.Admin, func(o *s3.Options) { o.UsePathStyle = true }).CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &name})
	if err != nil {
		t.Fatal(err)
	}
}

func TestAssumeRoleForPodIdentity(t *testing.T) {
	s := servertest.New(t, nil)
	makeBucket(t, s, "carts")
	role := s.MakeRole("carts", servertest.PodTrust, policyOf(`{"Effect":"Allow","Action":"s3:ListBucket","Resource":"arn:aws:s3:::${aws:PrincipalTag/kubernetes-namespace}"}`))
	token := s.Token(servertest.Cluster, carts, pod)
	refused(t, s, token, http.StatusNotFound, "ResourceNotFoundException", "carts", servertest.Cluster)

	id := s.Associate(servertest.Cluster, carts, role, nil)
	before := time.Now()
	a := s.Send(servertest.ExchangeCall(servertest.Cluster, token)) // at once: nobody has to wait for an association to arrive
	if a.Status != http.StatusOK || a.Header.Get("Content-Type") != "application/json" || a.Header.Get("X-Amzn-Requestid") == "" {
		t.Fatalf("%d %v %s", a.Status, a.Header, a.Body)
	}
	var got servertest.Exchange
	strict := json.NewDecoder(strings.NewReader(a.Body))
	strict.DisallowUnknownFields()
	if err := strict.Decode(&got); err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`"expiration":[0-9]{10}(\.[0-9]+)?[,}]`).MatchString(a.Body) {
		t.Error("the expiration is not a number of seconds")
	}
	roleOut, err := iam.NewFromConfig(s.Admin).GetRole(t.Context(), &iam.GetRoleInput{RoleName: aws.String("carts")})
	if err != nil {
		t.Fatal(err)
	}
	want := got // what is random
	want.Subject.Namespace, want.Subject.ServiceAccount = "carts", "carts"
	want.Audience = "pods.eks.amazonaws.com"
	want.Association.ARN, want.Association.ID = "arn:aws:eks:us-west-2:111122223333:podidentityassociation/local/"+id, id
	name := got.AssumedRoleUser.ARN[strings.LastIndexByte(got.AssumedRoleUser.ARN, '/')+1:]
	want.AssumedRoleUser.ARN = "arn:aws:sts::111122223333:assumed-role/carts/" + name
	want.AssumedRoleUser.ID = *roleOut.Role.RoleId + ":" + name
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("exchange, want - got +:\n%s", diff)
	}
	if !regexp.MustCompile(`^eks-local-carts-7d9c5b-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`).MatchString(name) {
		t.Errorf("session name %q", name)
	}
	if c := got.Credentials; !strings.HasPrefix(c.AccessKeyID, "ASIA") || len(c.AccessKeyID) != 20 || len(c.SecretAccessKey) != 40 || c.SessionToken == "" {
		t.Errorf("credentials of another form: key id %q", c.AccessKeyID)
	}
	if life := got.Expires().Sub(before); life < 6*time.Hour-2*time.Second || life > 6*time.Hour+time.Minute {
		t.Errorf("the credentials last %v, want 6 hours", life)
	}
	who, err := sts.NewFromConfig(got.As(s)).GetCallerIdentity(t.Context(), nil)
	if err != nil || *who.Arn != got.AssumedRoleUser.ARN || *who.UserId != got.AssumedRoleUser.ID {
		t.Errorf("the caller is %v (%v)", who, err)
	}
	if !mayList(t, got.As(s), "carts") {
		t.Error("the session tag in the policy does not let the pod in")
	}
	again := s.Exchange(servertest.Cluster, token)
	if again.Credentials == got.Credentials || again.AssumedRoleUser == got.AssumedRoleUser {
		t.Error("two exchanges gave one session")
	}
}

// Amazon's agent and ours use the same request; ours is at hand.
func TestAgentClient(t *testing.T) {
	s := servertest.New(t, nil)
	s.Associate(servertest.Cluster, carts, s.MakeRole("carts", servertest.PodTrust, ""), nil)
	client, err := agent.NewClient(agent.ClientConfig{ClusterName: servertest.Cluster, Region: servertest.Region, Endpoint: s.URL, Credentials: s.Admin.Credentials})
	if err != nil {
		t.Fatal(err)
	}
	got, err := client.AssumeRoleForPodIdentity(t.Context(), identity.Secret(s.Token(servertest.Cluster, carts, pod)))
	if err != nil || got.AccountID != servertest.AccountID || !got.ExpiresAt.After(time.Now().Add(5*time.Hour)) {
		t.Errorf("got %+v, %v", got, err)
	}
}

// Every session tag and every other thing that a trust policy may ask about a pod.
func TestTrustConditions(t *testing.T) {
	s := servertest.New(t, nil)
	token := s.Token(servertest.Cluster, carts, pod)
	const clusterARN = "arn:aws:eks:us-west-2:111122223333:cluster/local"
	for i, tt := range []struct{ operator, key, good, bad string }{
		{"StringEquals", "aws:RequestTag/eks-cluster-arn", clusterARN, "arn:aws:eks:us-west-2:111122223333:cluster/edge"},
		{"StringEquals", "aws:RequestTag/eks-cluster-name", "local", "edge"},
		{"StringEquals", "aws:RequestTag/kubernetes-namespace", "carts", "shop"},
		{"StringEquals", "aws:RequestTag/kubernetes-service-account", "carts", "shop"},
		{"StringEquals", "aws:RequestTag/kubernetes-pod-name", pod, "other"},
		{"StringEquals", "aws:RequestTag/kubernetes-pod-uid", podUID, "5a20f883"},
		{"ForAnyValue:StringEquals", "aws:TagKeys", "kubernetes-pod-uid", "team"},
		{"ForAnyValue:StringEquals", "sts:TransitiveTagKeys", "kubernetes-pod-uid", "team"},
		{"StringLike", "sts:RoleSessionName", "eks-local-carts-7d9c5b-*", "eks-edge-*"},
		{"ArnEquals", "aws:SourceArn", clusterARN, "arn:aws:eks:us-west-2:111122223333:cluster/edge"},
		{"StringEquals", "aws:SourceAccount", "111122223333", "444455556666"},
		{"Bool", "aws:PrincipalIsAWSService", "true", "false"},
		{"Null", "sts:ExternalId", "true", "false"}, // there is none without a target role
	} {
		for value, allowed := range map[string]bool{tt.good: true, tt.bad: false} {
			name := "trust-" + string(rune('a'+i)) + map[bool]string{true: "-good", false: "-bad"}[allowed]
			role := s.MakeRole(name, trustIf(`{"`+tt.operator+`":{"`+tt.key+`":"`+value+`"}}`), "")
			id := s.Associate(servertest.Cluster, carts, role, nil)
			if allowed {
				s.Exchange(servertest.Cluster, token)
			} else {
				t.Log(tt.key)
				refused(t, s, token, http.StatusBadRequest, "AccessDeniedException", role)
			}
			drop(t, s, id)
		}
	}
}

func drop(t *testing.T, s *servertest.Server, id string) {
	t.Helper()
	_, err := eks.NewFromConfig(s.Admin).DeletePodIdentityAssociation(t.Context(), &eks.DeletePodIdentityAssociationInput{ClusterName: aws.String(servertest.Cluster), AssociationId: &id})
	if err != nil {
		t.Fatal(err)
	}
}

func TestDisableSessionTags(t *testing.T) {
	s := servertest.New(t, nil)
	makeBucket(t, s, "carts")
	role := s.MakeRole("untagged", strings.ReplaceAll(servertest.PodTrust, `,"sts:TagSession"`, ""), policyOf(
		`{"Effect":"Allow","Action":"s3:ListBucket","Resource":"*","Condition":{"Null":{"aws:PrincipalTag/kubernetes-namespace":"true"}}}`))
	s.Associate(servertest.Cluster, carts, role, func(in *eks.CreatePodIdentityAssociationInput) { in.DisableSessionTags = aws.Bool(true) })
	if !mayList(t, s.Exchange(servertest.Cluster, s.Token(servertest.Cluster, carts, pod)).As(s), "carts") {
		t.Error("the session has tags")
	}
}

func TestSessionPolicy(t *testing.T) {
	s := servertest.New(t, nil)
	makeBucket(t, s, "one")
	makeBucket(t, s, "two")
	list := func(bucket string) string {
		return policyOf(`{"Effect":"Allow","Action":["s3:ListBucket","sts:AssumeRole"],"Resource":["arn:aws:s3:::` + bucket + `","arn:aws:iam::111122223333:role/last"]}`)
	}
	first := s.MakeRole("first", servertest.PodTrust, list("*"))
	last := s.MakeRole("last", policyOf(`{"Effect":"Allow","Principal":{"AWS":"`+first+`"},"Action":"sts:AssumeRole"}`), list("*"))
	token := s.Token(servertest.Cluster, carts, pod)
	associate := func(target string) string {
		return s.Associate(servertest.Cluster, carts, first, func(in *eks.CreatePodIdentityAssociationInput) {
			in.DisableSessionTags, in.TargetRoleArn = aws.Bool(true), &target
			in.Policy = aws.String(policyOf(`{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::one"}`))
		})
	}
	for _, target := range []string{"", last} { // the policy does not let the first session assume the second role, and must not be asked to
		id := associate(target)
		cfg := s.Exchange(servertest.Cluster, token).As(s)
		if !mayList(t, cfg, "one") || mayList(t, cfg, "two") {
			t.Errorf("with target role %q the session policy does not decide", target)
		}
		drop(t, s, id)
	}
}

func TestTargetRole(t *testing.T) {
	clock := time.Now()
	s := servertest.New(t, func(cfg *server.Config) { cfg.Now = func() time.Time { return clock } })
	makeBucket(t, s, "carts")
	token := s.Token(servertest.Cluster, carts, pod)
	const targetARN = "arn:aws:iam::111122223333:role/target"
	assume := policyOf(`{"Effect":"Allow","Action":["sts:AssumeRole","sts:TagSession"],"Resource":"` + targetARN + `"}`)
	first := s.MakeRole("first", servertest.PodTrust, assume)
	nothing := s.MakeRole("nothing", servertest.PodTrust, policyOf(`{"Effect":"Deny","Action":"sts:AssumeRole","Resource":"*"}`))
	trust := func(actions, condition string) string {
		return policyOf(`{"Effect":"Allow","Principal":{"AWS":["` + first + `","` + nothing + `"]},"Action":` + actions + `,"Condition":` + condition + `}`)
	}
	const both, always = `["sts:AssumeRole","sts:TagSession"]`, `{}`
	target := s.MakeRole("target", trust(both, always), policyOf(
		`{"Effect":"Allow","Action":"s3:ListBucket","Resource":"*","Condition":{"StringEquals":{"aws:PrincipalTag/kubernetes-pod-name":"`+pod+`"}}}`))
	retrust := func(policy string) {
		t.Helper()
		_, err := iam.NewFromConfig(s.Admin).UpdateAssumeRolePolicy(t.Context(), &iam.UpdateAssumeRolePolicyInput{RoleName: aws.String("target"), PolicyDocument: &policy})
		if err != nil {
			t.Fatal(err)
		}
	}
	withTarget := func(in *eks.CreatePodIdentityAssociationInput) { in.TargetRoleArn = &target }
	id := s.Associate(servertest.Cluster, carts, first, withTarget)

	got := s.Exchange(servertest.Cluster, token)
	if want := "arn:aws:sts::111122223333:assumed-role/target/eks-local-"; !strings.HasPrefix(got.AssumedRoleUser.ARN, want) {
		t.Errorf("the session is %s, want %s…", got.AssumedRoleUser.ARN, want)
	}
	if want := clock.Add(59 * time.Minute).Truncate(time.Second); !got.Expires().Equal(want) {
		t.Errorf("expires at %v, want %v", got.Expires(), want)
	}
	if !mayList(t, got.As(s), "carts") {
		t.Error("the first session's tags have not come down to the second")
	}
	const external = "us-west-2/111122223333/local/carts/carts"
	for name, tt := range map[string]struct {
		trust   string
		allowed bool
	}{
		"external id":         {trust(both, `{"StringEquals":{"sts:ExternalId":"`+external+`"}}`), true},
		"other external id":   {trust(both, `{"StringEquals":{"sts:ExternalId":"us-west-2/111122223333/edge/carts/carts"}}`), false},
		"inherited tag":       {trust(both, `{"StringEquals":{"aws:RequestTag/kubernetes-namespace":"carts"}}`), true},
		"other inherited tag": {trust(both, `{"StringEquals":{"aws:RequestTag/kubernetes-namespace":"shop"}}`), false},
		"tag of the caller":   {trust(both, `{"StringEquals":{"aws:PrincipalTag/kubernetes-namespace":"carts"}}`), true},
		"no TagSession":       {trust(`"sts:AssumeRole"`, always), false},
		"another principal":   {policyOf(`{"Effect":"Allow","Principal":{"AWS":"` + nothing + `"},"Action":"sts:*"}`), false},
	} {
		retrust(tt.trust)
		if tt.allowed {
			s.Exchange(servertest.Cluster, token)
			continue
		}
		t.Log(name)
		refused(t, s, token, http.StatusBadRequest, "AccessDeniedException", target)
	}
	drop(t, s, id)

	t.Run("without tags only ExternalId is left", func(t *testing.T) {
		retrust(trust(`"sts:AssumeRole"`, `{"StringEquals":{"sts:ExternalId":"`+external+`"}}`))
		id := s.Associate(servertest.Cluster, carts, first, func(in *eks.CreatePodIdentityAssociationInput) {
			in.TargetRoleArn, in.DisableSessionTags = &target, aws.Bool(true)
		})
		if mayList(t, s.Exchange(servertest.Cluster, token).As(s), "carts") {
			t.Error("the second session has tags")
		}
		drop(t, s, id)
	})
	t.Run("the first role's policies decide too", func(t *testing.T) {
		retrust(trust(both, always))
		id := s.Associate(servertest.Cluster, carts, nothing, withTarget)
		refused(t, s, token, http.StatusBadRequest, "AccessDeniedException", target)
		drop(t, s, id)
	})
	t.Run("target role that is not there", func(t *testing.T) {
		s.Associate(servertest.Cluster, carts, first, func(in *eks.CreatePodIdentityAssociationInput) {
			in.TargetRoleArn = aws.String("arn:aws:iam::444455556666:role/target")
		})
		refused(t, s, token, http.StatusBadRequest, "AccessDeniedException", "arn:aws:iam::444455556666:role/target")
	})
}

// An association outlives its role; what is exchanged is always of today.
func TestRoleAndAssociationEnd(t *testing.T) {
	s := servertest.New(t, nil)
	makeBucket(t, s, "carts")
	list := policyOf(`{"Effect":"Allow","Action":"s3:ListBucket","Resource":"*"}`)
	role := s.MakeRole("carts", servertest.PodTrust, list)
	id := s.Associate(servertest.Cluster, carts, role, nil)
	token := s.Token(servertest.Cluster, carts, pod)
	old := s.Exchange(servertest.Cluster, token)

	client := iam.NewFromConfig(s.Admin)
	if _, err := client.DeleteRolePolicy(t.Context(), &iam.DeleteRolePolicyInput{RoleName: aws.String("carts"), PolicyName: aws.String("own")}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.DeleteRole(t.Context(), &iam.DeleteRoleInput{RoleName: aws.String("carts")}); err != nil {
		t.Fatal(err)
	}
	refused(t, s, token, http.StatusBadRequest, "AccessDeniedException", role, "does not exist")

	s.MakeRole("carts", servertest.PodTrust, list)
	fresh := s.Exchange(servertest.Cluster, token)
	if oldID, newID := roleID(old), roleID(fresh); oldID == newID {
		t.Errorf("the new role has the old one's id %s", oldID)
	}
	if !mayList(t, fresh.As(s), "carts") {
		t.Error("the new role's session may not do what its policy says")
	}
	if _, err := sts.NewFromConfig(old.As(s)).GetCallerIdentity(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "InvalidClientTokenId") {
		t.Errorf("a session of the old role is taken for one of the new: %v", err)
	}

	drop(t, s, id)
	refused(t, s, token, http.StatusNotFound, "ResourceNotFoundException", "carts")
	if !mayList(t, fresh.As(s), "carts") {
		t.Error("credentials end with the association; they should last until they expire")
	}
}

func roleID(e *servertest.Exchange) string {
	id, _, _ := strings.Cut(e.AssumedRoleUser.ID, ":")
	return id
}

// The node's own permission, apart from the pod's.
func TestCallerNeedsPermission(t *testing.T) {
	s := servertest.New(t, nil)
	s.Associate(servertest.Cluster, carts, s.MakeRole("carts", servertest.PodTrust, ""), nil)
	token := s.Token(servertest.Cluster, carts, pod)
	call := servertest.ExchangeCall(servertest.Cluster, token)
	for name, tt := range map[string]struct {
		policy  string
		allowed bool
	}{
		"node":       {policyOf(`{"Effect":"Allow","Action":"eks-auth:AssumeRoleForPodIdentity","Resource":"arn:aws:eks:us-west-2:111122223333:cluster/local"}`), true},
		"other-node": {policyOf(`{"Effect":"Allow","Action":"eks-auth:AssumeRoleForPodIdentity","Resource":"arn:aws:eks:us-west-2:111122223333:cluster/edge"}`), false},
		"user":       {policyOf(`{"Effect":"Allow","Action":"eks:*","Resource":"*"}`), false},
	} {
		cfg := s.Limited(name, tt.policy)
		call.As = &cfg
		a := s.Send(call)
		if tt.allowed {
			if a.Status != http.StatusOK {
				t.Errorf("%s: %d %s", name, a.Status, a.Body)
			}
			continue
		}
		got := s.Refusal(a)
		want := "User: arn:aws:sts::111122223333:assumed-role/" + name + "/limited is not authorized to perform: " +
			"eks-auth:AssumeRoleForPodIdentity on resource: arn:aws:eks:us-west-2:111122223333:cluster/local"
		if a.Status != http.StatusBadRequest || got.Code != "AccessDeniedException" || !strings.HasPrefix(got.Message, want) {
			t.Errorf("%s: %d %+v, want %s", name, a.Status, got, want)
		}
	}
}
