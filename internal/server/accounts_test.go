package server_test

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/server"
	"github.com/podid/podid/internal/server/servertest"
)

const (
	member     = "444455556666"
	memberRole = "arn:aws:iam::" + member + ":role/OrganizationAccountAccessRole"
)

func withMember(cfg *server.Config) { cfg.MemberAccountIDs = []string{member} }

// makeRole makes a role with somebody's credentials, so in their account, and returns its ARN.
func makeRole(t *testing.T, by aws.Config, name, trust, policy string) string {
	t.Helper()
	client := iam.NewFromConfig(by)
	out, err := client.CreateRole(t.Context(), &iam.CreateRoleInput{RoleName: &name, AssumeRolePolicyDocument: &trust})
	if err != nil {
		t.Fatal(err)
	}
	if policy != "" {
		_, err := client.PutRolePolicy(t.Context(), &iam.PutRolePolicyInput{RoleName: &name, PolicyName: aws.String("own"), PolicyDocument: &policy})
		if err != nil {
			t.Fatal(err)
		}
	}
	return *out.Role.Arn
}

func whoIs(t *testing.T, cfg aws.Config) string {
	t.Helper()
	out, err := sts.NewFromConfig(cfg).GetCallerIdentity(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return *out.Account + " " + *out.Arn
}

func TestMemberAccount(t *testing.T) {
	s := servertest.New(t, withMember)
	inside := s.Session(t, s.Admin, memberRole, nil)
	if got, want := whoIs(t, inside), member+" arn:aws:sts::"+member+":assumed-role/OrganizationAccountAccessRole/test"; got != want {
		t.Errorf("the administrator is %s, want %s", got, want)
	}
	t.Run("roles are in the account of who makes them", func(t *testing.T) {
		if arn := makeRole(t, inside, "web", servertest.Trust(`{"AWS":"`+member+`"}`, `"sts:AssumeRole"`, ""), ""); arn != "arn:aws:iam::"+member+":role/web" {
			t.Errorf("made %s", arn)
		}
		_, err := iam.NewFromConfig(s.Admin).GetRole(t.Context(), &iam.GetRoleInput{RoleName: aws.String("web")})
		servertest.WantRefused(t, err, "NoSuchEntity", 404)
	})
	t.Run("both sides must allow", func(t *testing.T) {
		const tagging = `["sts:AssumeRole","sts:TagSession"]`
		open := makeRole(t, inside, "open", servertest.Trust(`{"AWS":"`+servertest.AccountID+`"}`, tagging, ""), "")
		closed := makeRole(t, inside, "closed", servertest.Trust(`{"AWS":"`+member+`"}`, tagging, ""), "")
		named := s.Limited("named", "")
		direct := makeRole(t, inside, "direct", servertest.Trust(`{"AWS":"`+servertest.RoleARN("named")+`"}`, tagging, ""), "")
		may := s.Limited("may", servertest.Allow(`"sts:*"`, "*", ""))

		if got := whoIs(t, s.Session(t, may, open, nil)); !strings.HasPrefix(got, member+" ") {
			t.Errorf("the session is of %s", got)
		}
		_, _, err := s.Assume(t, may, closed, nil)
		servertest.WantRefused(t, err, "AccessDenied", 403, "because no role trust policy allows the sts:AssumeRole action")
		_, _, err = s.Assume(t, named, open, nil)
		servertest.WantRefused(t, err, "AccessDenied", 403, "because no identity-based policy allows the sts:AssumeRole action")
		_, _, err = s.Assume(t, named, direct, nil) // within an account this would do
		servertest.WantRefused(t, err, "AccessDenied", 403, "because no identity-based policy allows the sts:AssumeRole action")
	})
	t.Run("not the other way", func(t *testing.T) {
		there := s.MakeRole("first", servertest.Trust(`{"AWS":"`+servertest.AccountID+`"}`, `"sts:AssumeRole"`, ""), "")
		_, _, err := s.Assume(t, inside, there, nil)
		servertest.WantRefused(t, err, "AccessDenied", 403, "because no role trust policy allows the sts:AssumeRole action")
		_, err = eks.NewFromConfig(inside).DescribeCluster(t.Context(), &eks.DescribeClusterInput{Name: aws.String(servertest.Cluster)})
		servertest.WantRefused(t, err, "AccessDeniedException", 403)
	})
	t.Run("an account that is not held", func(t *testing.T) {
		_, _, err := s.Assume(t, s.Admin, "arn:aws:iam::999999999999:role/OrganizationAccountAccessRole", nil)
		servertest.WantRefused(t, err, "AccessDenied", 403, "is not authorized to perform: sts:AssumeRole on resource: arn:aws:iam::999999999999:role/")
	})
}

// The administrators' way in is there after each start, and their changes of it stay.
func TestMemberRole(t *testing.T) {
	s := servertest.New(t, nil)
	_, _, err := s.Assume(t, s.Admin, memberRole, nil)
	servertest.WantRefused(t, err, "AccessDenied", 403)
	s.Stop()

	s = servertest.Open(t, s.DataDir, withMember)
	inside := s.Session(t, s.Admin, memberRole, nil)
	client := iam.NewFromConfig(inside)
	name := aws.String("OrganizationAccountAccessRole")
	_, err = client.TagRole(t.Context(), &iam.TagRoleInput{RoleName: name, Tags: []iamtypes.Tag{{Key: aws.String("kept"), Value: aws.String("yes")}}})
	if err != nil {
		t.Fatal(err)
	}
	s.Stop()

	s = servertest.Open(t, s.DataDir, withMember)
	client = iam.NewFromConfig(s.Session(t, s.Admin, memberRole, nil))
	role, err := client.GetRole(t.Context(), &iam.GetRoleInput{RoleName: name})
	if err != nil || len(role.Role.Tags) != 1 {
		t.Fatalf("after a start the role is %+v, %v", role, err)
	}
	policy := aws.String("arn:aws:iam::aws:policy/AdministratorAccess")
	if _, err := client.PutRolePolicy(t.Context(), &iam.PutRolePolicyInput{RoleName: name, PolicyName: aws.String("x"), PolicyDocument: aws.String(servertest.AllowAll)}); err != nil {
		t.Fatal(err)
	}
	if _, err := client.DetachRolePolicy(t.Context(), &iam.DetachRolePolicyInput{RoleName: name, PolicyArn: policy}); err != nil {
		t.Fatal(err)
	}
	outside := s.Session(t, s.Admin, memberRole, nil)
	helper := makeRole(t, outside, "helper", servertest.Trust(`{"AWS":"`+member+`"}`, `"sts:AssumeRole"`, ""), servertest.AllowAll)
	helping := iam.NewFromConfig(s.Session(t, outside, helper, nil))
	if _, err := helping.DeleteRolePolicy(t.Context(), &iam.DeleteRolePolicyInput{RoleName: name, PolicyName: aws.String("x")}); err != nil {
		t.Fatal(err)
	}
	if _, err := helping.DeleteRole(t.Context(), &iam.DeleteRoleInput{RoleName: name}); err != nil {
		t.Fatal(err)
	}
	_, _, err = s.Assume(t, s.Admin, memberRole, nil)
	servertest.WantRefused(t, err, "AccessDenied", 403)
	s.Stop()

	s = servertest.Open(t, s.DataDir, withMember)
	s.Session(t, s.Admin, memberRole, nil)
}

// A pod's target role may be in another account, whose owner asks for the external id of the association.
func TestTargetRoleOfMemberAccount(t *testing.T) {
	s := servertest.New(t, withMember)
	inside := s.Session(t, s.Admin, memberRole, nil)
	carts := identity.ServiceAccount{Namespace: "carts", Name: "carts"}
	const target = "arn:aws:iam::" + member + ":role/data"
	first := s.MakeRole("carts", servertest.PodTrust, servertest.Allow(`["sts:AssumeRole","sts:TagSession"]`, target, ""))
	trust := func(id string) string {
		return servertest.Trust(`{"AWS":"`+first+`"}`, `["sts:AssumeRole","sts:TagSession"]`,
			`{"StringEquals":{"sts:ExternalId":"`+id+`","aws:RequestTag/kubernetes-namespace":"carts"}}`)
	}
	const externalID = servertest.Region + "/" + servertest.AccountID + "/" + servertest.Cluster + "/carts/carts"
	makeRole(t, inside, "data", trust(externalID), servertest.AllowAll)
	s.Associate(servertest.Cluster, carts, first, func(in *eks.CreatePodIdentityAssociationInput) { in.TargetRoleArn = aws.String(target) })
	token := s.Token(servertest.Cluster, carts, "carts-1")

	if got := whoIs(t, s.Exchange(servertest.Cluster, token).As(s)); !strings.HasPrefix(got, member+" arn:aws:sts::"+member+":assumed-role/data/eks-local-carts-1-") {
		t.Errorf("the pod is %s", got)
	}
	_, err := iam.NewFromConfig(inside).UpdateAssumeRolePolicy(t.Context(), &iam.UpdateAssumeRolePolicyInput{
		RoleName: aws.String("data"), PolicyDocument: aws.String(trust("another")),
	})
	if err != nil {
		t.Fatal(err)
	}
	if status, refusal := s.ExchangeRefused(servertest.Cluster, token); status != 400 || refusal.Code != "AccessDeniedException" || !strings.Contains(refusal.Message, target) {
		t.Errorf("with another external id: %d %+v", status, refusal)
	}
}

func TestMemberAccountID(t *testing.T) {
	for _, id := range []string{"44445555666", "", servertest.AccountID} {
		_, err := server.New(t.Context(), server.Config{AccountID: servertest.AccountID, MemberAccountIDs: []string{id}})
		if err == nil || !strings.Contains(err.Error(), `member account id "`+id+`"`) {
			t.Errorf("%q: %v", id, err)
		}
	}
}
