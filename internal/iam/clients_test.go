package iam_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/smithy-go"

	"github.com/podid/podid/internal/server/servertest"
)

// step is one call that a client makes: members as name, value, name, value.
type step struct {
	operation string
	members   []any
	want      []string // parts of the answer as JSON, or a code in front of parts of the message
}

func do(operation string, members ...any) step { return step{operation: operation, members: members} }

func (s step) gives(parts ...string) step {
	s.want = parts
	return s
}

// call makes the call with the SDK, and returns its answer in JSON, or the error's code and message.
func (s step) call(t *testing.T, client *iam.Client) string {
	t.Helper()
	method := reflect.ValueOf(client).MethodByName(s.operation)
	if !method.IsValid() {
		t.Fatalf("the SDK has no operation %s", s.operation)
	}
	in := reflect.New(method.Type().In(1).Elem())
	for i := 0; i < len(s.members); i += 2 {
		field := in.Elem().FieldByName(s.members[i].(string))
		if !field.IsValid() {
			t.Fatalf("%s has no member %s", s.operation, s.members[i])
		}
		value := reflect.ValueOf(s.members[i+1])
		if field.Kind() == reflect.Pointer {
			field.Set(reflect.New(field.Type().Elem()))
			field = field.Elem()
		}
		field.Set(value.Convert(field.Type()))
	}
	results := method.Call([]reflect.Value{reflect.ValueOf(t.Context()), in})
	if err, _ := results[1].Interface().(error); err != nil {
		var answer smithy.APIError
		if !errors.As(err, &answer) {
			return err.Error()
		}
		return answer.ErrorCode() + " " + answer.ErrorMessage()
	}
	text, err := json.Marshal(results[0].Interface())
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestClients goes through the calls that Terraform makes for its resources and that eksctl makes, in their order. What podid has not
// is refused in a way that they understand.
func TestClients(t *testing.T) {
	const (
		account  = "arn:aws:iam::111122223333:"
		policy   = account + "policy/team/read"
		provider = account + "oidc-provider/oidc.eks.us-west-2.amazonaws.com/id/EXAMPLE"
		print    = "9e99a48a9960b14926bb7f3b02e22da2b0ab7280"
	)
	inline := servertest.Allow(`"s3:*"`, "*", "")
	tags := []types.Tag{{Key: aws.String("team"), Value: aws.String("a")}}
	role, user, group := []any{"RoleName", "web"}, []any{"UserName", "ann"}, []any{"GroupName", "devs"}
	with := func(first []any, more ...any) []any { return slices.Concat(first, more) }
	for name, steps := range map[string][]step{
		"aws_iam_role": {
			do("CreateRole", "RoleName", "web", "Path", "/", "AssumeRolePolicyDocument", servertest.PodTrust, "Description", "x", "MaxSessionDuration", 3600, "Tags", tags).gives(`"RoleId":"AROA`),
			do("GetRole", role...).gives(`"Description":"x"`, `"RoleLastUsed":{`, `"team"`),
			do("PutRolePolicy", with(role, "PolicyName", "s3", "PolicyDocument", inline)...),
			do("ListRolePolicies", role...).gives(`"PolicyNames":["s3"]`),
			do("GetRolePolicy", with(role, "PolicyName", "s3")...).gives(`s3%3A%2A`),
			do("AttachRolePolicy", with(role, "PolicyArn", s3Read)...),
			do("ListAttachedRolePolicies", role...).gives(s3Read),
			do("UpdateAssumeRolePolicy", with(role, "PolicyDocument", servertest.TrustAdmin)...),
			do("UpdateRoleDescription", with(role, "Description", "y")...).gives(`"Description":"y"`, `"MaxSessionDuration":3600`),
			do("UpdateRole", with(role, "MaxSessionDuration", 7200)...),
			do("PutRolePermissionsBoundary", with(role, "PermissionsBoundary", s3Read)...),
			do("GetRole", role...).gives(`"Description":"y"`, `"MaxSessionDuration":7200`, `"PermissionsBoundaryType":"PermissionsBoundaryPolicy"`),
			do("DeleteRolePermissionsBoundary", role...),
			do("TagRole", with(role, "Tags", tags)...),
			do("UntagRole", with(role, "TagKeys", []string{"team"})...),
			do("ListRoleTags", role...).gives(`"Tags":[]`),
			do("ListInstanceProfilesForRole", role...).gives(`"InstanceProfiles":[]`),
			do("DeleteRole", role...).gives("DeleteConflict", "must detach all policies first"),
			do("DetachRolePolicy", with(role, "PolicyArn", s3Read)...),
			do("DeleteRole", role...).gives("DeleteConflict", "must delete policies first"),
			do("DeleteRolePolicy", with(role, "PolicyName", "s3")...),
			do("DeleteRole", role...),
			do("GetRole", role...).gives("NoSuchEntity", "The role with name web cannot be found."),
			do("ListInstanceProfilesForRole", role...).gives("NoSuchEntity"),
		},
		"aws_iam_role, of a role that is not there": {
			do("CreateRole", "RoleName", "web", "AssumeRolePolicyDocument", servertest.Trust(`{"AWS":"`+account+`role/none"}`, `"sts:AssumeRole"`, "")).
				gives("MalformedPolicyDocument", "Invalid principal in policy"), // which Terraform tries again
		},
		"aws_iam_policy": {
			do("CreatePolicy", "PolicyName", "read", "Path", "/team/", "PolicyDocument", inline, "Tags", tags).gives(policy, `"PolicyId":"ANPA`),
			do("GetPolicy", "PolicyArn", policy).gives(`"DefaultVersionId":"v1"`),
			do("GetPolicyVersion", "PolicyArn", policy, "VersionId", "v1").gives(`s3%3A%2A`),
			do("ListPolicyVersions", "PolicyArn", policy).gives(`"v1"`),
			do("CreatePolicyVersion", "PolicyArn", policy, "PolicyDocument", servertest.AllowAll, "SetAsDefault", true).gives(`"v2"`),
			do("TagPolicy", "PolicyArn", policy, "Tags", tags),
			do("UntagPolicy", "PolicyArn", policy, "TagKeys", []string{"team"}),
			do("ListPolicyTags", "PolicyArn", policy).gives(`"Tags":[]`),
			do("ListEntitiesForPolicy", "PolicyArn", policy).gives(`"PolicyGroups":[]`, `"PolicyRoles":[]`, `"PolicyUsers":[]`),
			do("DeletePolicyVersion", "PolicyArn", policy, "VersionId", "v1"),
			do("DeletePolicy", "PolicyArn", policy),
			do("GetPolicy", "PolicyArn", policy).gives("NoSuchEntity"),
		},
		"aws_iam_openid_connect_provider": {
			do("CreateOpenIDConnectProvider", "Url", "https://oidc.eks.us-west-2.amazonaws.com/id/EXAMPLE", "ClientIDList", []string{"sts.amazonaws.com"}, "ThumbprintList", []string{print}, "Tags", tags).gives(provider),
			do("GetOpenIDConnectProvider", "OpenIDConnectProviderArn", provider).gives(`"Url":"oidc.eks.us-west-2.amazonaws.com/id/EXAMPLE"`, print),
			do("AddClientIDToOpenIDConnectProvider", "OpenIDConnectProviderArn", provider, "ClientID", "other"),
			do("RemoveClientIDFromOpenIDConnectProvider", "OpenIDConnectProviderArn", provider, "ClientID", "other"),
			do("UpdateOpenIDConnectProviderThumbprint", "OpenIDConnectProviderArn", provider, "ThumbprintList", []string{print}),
			do("TagOpenIDConnectProvider", "OpenIDConnectProviderArn", provider, "Tags", tags),
			do("UntagOpenIDConnectProvider", "OpenIDConnectProviderArn", provider, "TagKeys", []string{"team"}),
			do("ListOpenIDConnectProviderTags", "OpenIDConnectProviderArn", provider).gives(`"Tags":[]`),
			do("ListOpenIDConnectProviders").gives(provider),
			do("DeleteOpenIDConnectProvider", "OpenIDConnectProviderArn", provider),
			do("GetOpenIDConnectProvider", "OpenIDConnectProviderArn", provider).gives("NoSuchEntity", "OpenIDConnect Provider not found for arn "+provider),
		},
		"aws_iam_user, with force_destroy": {
			do("CreateUser", "UserName", "ann", "Path", "/", "Tags", tags).gives(`"UserId":"AIDA`),
			do("GetUser", user...).gives(`"team"`),
			do("PutUserPolicy", with(user, "PolicyName", "s3", "PolicyDocument", inline)...),
			do("GetUserPolicy", with(user, "PolicyName", "s3")...).gives(`s3%3A%2A`),
			do("ListUserPolicies", user...).gives(`["s3"]`),
			do("AttachUserPolicy", with(user, "PolicyArn", s3Read)...),
			do("ListAttachedUserPolicies", user...).gives(s3Read),
			do("PutUserPermissionsBoundary", with(user, "PermissionsBoundary", s3Read)...),
			do("DeleteUserPermissionsBoundary", user...),
			do("TagUser", with(user, "Tags", tags)...),
			do("UntagUser", with(user, "TagKeys", []string{"team"})...),
			do("ListUserTags", user...).gives(`"Tags":[]`),
			do("UpdateUser", "UserName", "ann", "NewUserName", "anna", "NewPath", "/"),
			do("UpdateUser", "UserName", "anna", "NewUserName", "ann"),
			do("CreateAccessKey", user...).gives(`"AccessKeyId":"AKIA`),
			do("DetachUserPolicy", with(user, "PolicyArn", s3Read)...),
			do("DeleteUserPolicy", with(user, "PolicyName", "s3")...),
			do("ListGroupsForUser", user...).gives(`"Groups":[]`),
			do("ListAccessKeys", user...).gives(`"Status":"Active"`),
			do("DeleteUser", user...).gives("DeleteConflict", "must delete access keys first"),
			do("ListSSHPublicKeys", user...).gives(`"SSHPublicKeys":[]`, `"IsTruncated":false`),
			do("ListVirtualMFADevices", "AssignmentStatus", "Assigned").gives(`"VirtualMFADevices":[]`),
			do("ListMFADevices", user...).gives(`"MFADevices":[]`),
			do("GetLoginProfile", user...).gives("NoSuchEntity", "Login Profile for User ann cannot be found."),
			do("DeleteLoginProfile", user...).gives("NoSuchEntity", "Login Profile for User ann cannot be found."),
			do("ListSigningCertificates", user...).gives(`"Certificates":[]`),
			do("ListServiceSpecificCredentials", user...).gives(`"ServiceSpecificCredentials":[]`),
		},
		"what a user has who is not there": {
			do("GetUser", "UserName", "none").gives("NoSuchEntity", "The user with name none cannot be found."),
			do("GetLoginProfile", "UserName", "none").gives("NoSuchEntity", "The user with name none cannot be found."),
			do("ListMFADevices", "UserName", "none").gives("NoSuchEntity", "The user with name none cannot be found."),
			do("ListSSHPublicKeys", "UserName", "none").gives("NoSuchEntity"),
			do("ListSigningCertificates", "UserName", "none").gives("NoSuchEntity"),
			do("ListServiceSpecificCredentials", "UserName", "none").gives("NoSuchEntity"),
		},
		"what the caller has": {
			do("GetUser").gives(servertest.AdminARN),
			do("GetLoginProfile").gives("NoSuchEntity", "Login Profile for User admin cannot be found."),
			do("ListMFADevices").gives(`"MFADevices":[]`),
			do("ListSSHPublicKeys").gives(`"SSHPublicKeys":[]`),
			do("ListAccessKeys").gives(`"UserName":"admin"`),
		},
		"aws_iam_group": {
			do("CreateGroup", "GroupName", "devs", "Path", "/").gives(`"GroupId":"AGPA`),
			do("CreateUser", "UserName", "bob"),
			do("AddUserToGroup", with(group, "UserName", "bob")...),
			do("GetGroup", group...).gives(`"UserName":"bob"`),
			do("ListGroupsForUser", "UserName", "bob").gives(`"GroupName":"devs"`),
			do("PutGroupPolicy", with(group, "PolicyName", "s3", "PolicyDocument", inline)...),
			do("GetGroupPolicy", with(group, "PolicyName", "s3")...).gives(`s3%3A%2A`),
			do("DeleteGroupPolicy", with(group, "PolicyName", "s3")...),
			do("AttachGroupPolicy", with(group, "PolicyArn", s3Read)...),
			do("ListAttachedGroupPolicies", group...).gives(s3Read),
			do("DetachGroupPolicy", with(group, "PolicyArn", s3Read)...),
			do("UpdateGroup", "GroupName", "devs", "NewGroupName", "makers", "NewPath", "/"),
			do("RemoveUserFromGroup", "GroupName", "makers", "UserName", "bob"),
			do("DeleteGroup", "GroupName", "makers"),
			do("GetGroup", "GroupName", "makers").gives("NoSuchEntity", "The group with name makers cannot be found."),
		},
		"data sources": {
			do("ListAccountAliases").gives(`"AccountAliases":[]`),
			do("ListRoles").gives(`"IsTruncated":false`),
			do("ListUsers").gives(`"admin"`),
			do("ListGroups").gives(`"IsTruncated":false`),
			do("ListPolicies", "Scope", "Local").gives(`"IsTruncated":false`),
			do("GetAccountSummary").gives(`"AccountMFAEnabled":0`),
			do("SimulatePrincipalPolicy", "PolicySourceArn", servertest.AdminARN, "ActionNames", []string{"s3:GetObject"}).gives(`"allowed"`),
		},
		"eksctl": {
			do("GetRole", "RoleName", "AWSServiceRoleForAmazonEKSNodegroup").gives("NoSuchEntity"),
			do("CreateServiceLinkedRole", "AWSServiceName", "eks-nodegroup.amazonaws.com").gives("InvalidAction", "CreateServiceLinkedRole"),
			do("GetOpenIDConnectProvider", "OpenIDConnectProviderArn", account+"oidc-provider/oidc.eks.us-west-2.amazonaws.com/id/NONE").gives("NoSuchEntity"),
			do("ListAttachedRolePolicies", "RoleName", "none").gives("NoSuchEntity"),
			do("GetPolicy", "PolicyArn", s3Read).gives(`"PolicyName":"AmazonS3ReadOnlyAccess"`),
			do("GetInstanceProfile", "InstanceProfileName", "none").gives("InvalidAction", "GetInstanceProfile"),
		},
	} {
		t.Run(name, func(t *testing.T) {
			client := iam.NewFromConfig(servertest.New(t, nil).Admin)
			for i, s := range steps {
				got := s.call(t, client)
				want := s.want
				if want == nil {
					want = []string{`{`}
				}
				code := want[0]
				if !strings.HasPrefix(got, "{") && !strings.HasPrefix(got, code+" ") || slices.ContainsFunc(want, func(part string) bool { return !strings.Contains(got, part) }) {
					t.Fatalf("%d. %s: got %s, want %q", i+1, s.operation, got, want)
				}
			}
		})
	}
}

// Every operation that AWS has is either served or refused by its name, and none is a fault.
func TestEveryOperation(t *testing.T) {
	s := servertest.New(t, nil)
	client := reflect.TypeOf(&iam.Client{})
	refused := map[string]bool{}
	for i := range client.NumMethod() {
		method := client.Method(i)
		if method.Type.NumIn() != 4 || !method.Type.IsVariadic() {
			continue
		}
		a := s.Send(servertest.Form("iam", method.Name))
		switch {
		case a.Status >= 500:
			t.Errorf("%s: %d %s", method.Name, a.Status, a.Body)
		case strings.Contains(a.Body, "<Code>InvalidAction</Code>"):
			refused[method.Name] = true
			if want := fmt.Sprintf("Could not find operation %s for version 2010-05-08", method.Name); a.Status != 400 || !strings.Contains(a.Body, want) {
				t.Errorf("%s: %d %s", method.Name, a.Status, a.Body)
			}
		}
	}
	for _, name := range []string{"CreateServiceLinkedRole", "CreateSAMLProvider", "CreateInstanceProfile", "CreateLoginProfile", "CreateVirtualMFADevice", "UploadServerCertificate"} {
		if !refused[name] {
			t.Errorf("%s is not refused", name)
		}
	}
	if len(refused) > 100 || refused["GetRole"] || refused["CreateGroup"] {
		t.Errorf("refused are %q", slices.Sorted(maps.Keys(refused)))
	}
	t.Logf("%d operations are not served", len(refused))
}
