package iam_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/google/go-cmp/cmp"

	"github.com/podid/podid/internal/server/servertest"
)

func TestSimulateCustomPolicy(t *testing.T) {
	s := servertest.New(t, nil)
	client := iam.NewFromConfig(s.Admin)
	simulate := func(change func(*iam.SimulateCustomPolicyInput)) (*iam.SimulateCustomPolicyOutput, error) {
		in := &iam.SimulateCustomPolicyInput{ActionNames: []string{"s3:GetObject"}, PolicyInputList: []string{servertest.AllowAll}}
		change(in)
		return client.SimulateCustomPolicy(t.Context(), in)
	}
	one := func(t *testing.T, change func(*iam.SimulateCustomPolicyInput)) types.EvaluationResult {
		t.Helper()
		out, err := simulate(change)
		if err != nil {
			t.Fatal(err)
		}
		if len(out.EvaluationResults) != 1 {
			t.Fatalf("%d results", len(out.EvaluationResults))
		}
		return out.EvaluationResults[0]
	}
	bucket := `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:user/Ann"},"Action":"s3:*","Resource":"*"}}`
	tagged := servertest.Allow(`"s3:*"`, "arn:aws:s3:::b/${aws:username}/*", `{"StringEquals":{"aws:PrincipalTag/team":"a"},"ForAllValues:StringEquals":{"aws:TagKeys":["x","y"]}}`)
	entry := func(kind types.ContextKeyTypeEnum, key string, values ...string) types.ContextEntry {
		return types.ContextEntry{ContextKeyName: &key, ContextKeyType: kind, ContextKeyValues: values}
	}
	for name, tt := range map[string]struct {
		change  func(*iam.SimulateCustomPolicyInput)
		want    types.PolicyEvaluationDecisionType
		sources []string
		missing []string
	}{
		"allowed": {func(*iam.SimulateCustomPolicyInput) {}, "allowed", []string{"PolicyInputList.1"}, nil},
		"denied explicitly": {func(in *iam.SimulateCustomPolicyInput) {
			in.PolicyInputList = append(in.PolicyInputList, strings.Replace(servertest.AllowAll, "Allow", "Deny", 1))
		}, "explicitDeny", []string{"PolicyInputList.2"}, nil},
		"nothing matches": {func(in *iam.SimulateCustomPolicyInput) {
			in.PolicyInputList = []string{servertest.Allow(`"iam:*"`, "*", "")}
		}, "implicitDeny", nil, nil},
		"boundary": {func(in *iam.SimulateCustomPolicyInput) {
			in.PermissionsBoundaryPolicyInputList = []string{servertest.Allow(`"iam:*"`, "*", "")}
		}, "implicitDeny", nil, nil},
		"boundary denies": {func(in *iam.SimulateCustomPolicyInput) {
			in.PermissionsBoundaryPolicyInputList = []string{strings.Replace(servertest.AllowAll, "Allow", "Deny", 1)}
		}, "explicitDeny", []string{"PermissionsBoundaryPolicyInputList.1"}, nil},
		"resource policy": {func(in *iam.SimulateCustomPolicyInput) {
			in.PolicyInputList, in.ResourcePolicy, in.CallerArn = []string{servertest.Allow(`"iam:*"`, "*", "")}, &bucket, aws.String("arn:aws:iam::111122223333:user/Ann")
		}, "allowed", []string{"ResourcePolicy.1"}, nil},
		"resource policy of another account": {func(in *iam.SimulateCustomPolicyInput) {
			in.PolicyInputList, in.ResourcePolicy, in.CallerArn = []string{servertest.Allow(`"iam:*"`, "*", "")}, &bucket, aws.String("arn:aws:iam::111122223333:user/Ann")
			in.ResourceOwner = aws.String("arn:aws:iam::444455556666:root")
		}, "implicitDeny", nil, nil},
		"keys missing": {func(in *iam.SimulateCustomPolicyInput) {
			in.PolicyInputList, in.ResourceArns = []string{tagged}, []string{"arn:aws:s3:::b/Ann/1"}
		}, "implicitDeny", nil, []string{"aws:username", "aws:PrincipalTag/team", "aws:TagKeys"}},
		"keys given": {func(in *iam.SimulateCustomPolicyInput) {
			in.PolicyInputList, in.ResourceArns = []string{tagged}, []string{"arn:aws:s3:::b/Ann/1"}
			in.ContextEntries = []types.ContextEntry{entry("string", "AWS:username", "Ann"), entry("string", "aws:PrincipalTag/team", "a"), entry("stringList", "aws:TagKeys", "y", "x")}
		}, "allowed", []string{"PolicyInputList.1"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			got := one(t, tt.change)
			var sources []string
			for _, m := range got.MatchedStatements {
				sources = append(sources, *m.SourcePolicyId)
			}
			if got.EvalDecision != tt.want || !slices.Equal(sources, tt.sources) || !slices.Equal(got.MissingContextValues, tt.missing) {
				t.Errorf("%s by %q, missing %q", got.EvalDecision, sources, got.MissingContextValues)
			}
			if has := got.PermissionsBoundaryDecisionDetail != nil; has != strings.HasPrefix(name, "boundary") || has && got.PermissionsBoundaryDecisionDetail.AllowedByPermissionsBoundary {
				t.Errorf("boundary %+v", got.PermissionsBoundaryDecisionDetail)
			}
		})
	}
	t.Run("position", func(t *testing.T) {
		got := one(t, func(*iam.SimulateCustomPolicyInput) {})
		m := got.MatchedStatements[0]
		if m.StartPosition.Line != 1 || m.StartPosition.Column != 38 || m.EndPosition.Line != 1 || int(m.EndPosition.Column) != len(servertest.AllowAll) || *got.EvalResourceName != "*" {
			t.Errorf("from %+v to %+v of %d", m.StartPosition, m.EndPosition, len(servertest.AllowAll))
		}
	})
	t.Run("pages", func(t *testing.T) {
		var got []string
		pages := iam.NewSimulateCustomPolicyPaginator(client, &iam.SimulateCustomPolicyInput{
			ActionNames: []string{"a:A", "b:B"}, ResourceArns: []string{"arn:aws:s3:::x", "arn:aws:s3:::y", "arn:aws:s3:::z"},
			PolicyInputList: []string{servertest.AllowAll}, MaxItems: aws.Int32(4),
		})
		n := 0
		for ; pages.HasMorePages(); n++ {
			page, err := pages.NextPage(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range page.EvaluationResults {
				got = append(got, *r.EvalActionName+(*r.EvalResourceName)[12:])
			}
		}
		if n != 2 || !cmp.Equal(got, []string{"a:A:x", "a:A:y", "a:A:z", "b:B:x", "b:B:y", "b:B:z"}) {
			t.Errorf("%d pages of %q", n, got)
		}
	})
	for name, tt := range map[string]struct {
		change func(*iam.SimulateCustomPolicyInput)
		code   string
		part   string
	}{
		"policy":   {func(in *iam.SimulateCustomPolicyInput) { in.PolicyInputList = append(in.PolicyInputList, "{") }, "InvalidInput", "PolicyInputList.2"},
		"policies": {func(in *iam.SimulateCustomPolicyInput) { in.PolicyInputList = []string{} }, "ValidationError", "policyInputList"},
		"action":   {func(in *iam.SimulateCustomPolicyInput) { in.ActionNames = []string{"GetObject"} }, "InvalidInput", "GetObject"},
		"caller":   {func(in *iam.SimulateCustomPolicyInput) { in.CallerArn = aws.String(servertest.RoleARN("x")) }, "InvalidInput", "CallerArn"},
		"key type": {func(in *iam.SimulateCustomPolicyInput) {
			in.ContextEntries = []types.ContextEntry{entry("text", "aws:username", "x")}
		}, "ValidationError", "contextKeyType"},
		"two values": {func(in *iam.SimulateCustomPolicyInput) {
			in.ContextEntries = []types.ContextEntry{entry("string", "aws:username", "x", "y")}
		}, "InvalidInput", "aws:username"},
		"too large": {func(in *iam.SimulateCustomPolicyInput) {
			in.PolicyInputList = []string{`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringLike":{"aws:username":"*` +
				strings.Repeat("a?", 30000) + `b*"}}}}`}
			in.ContextEntries = []types.ContextEntry{entry("string", "aws:username", strings.Repeat("a", 100000))}
		}, "InvalidInput", "too large to be simulated together"},
		"marker": {func(in *iam.SimulateCustomPolicyInput) { in.Marker = aws.String("LTE") }, "ValidationError", "Marker"}, // -1
	} {
		t.Run("bad "+name, func(t *testing.T) {
			_, err := simulate(tt.change)
			servertest.WantRefused(t, err, tt.code, 400, tt.part)
		})
	}
}

// What is simulated for a principal is what happens to it.
func TestSimulatePrincipalPolicy(t *testing.T) {
	s := servertest.New(t, nil)
	client := iam.NewFromConfig(s.Admin)
	if _, err := client.CreateUser(t.Context(), &iam.CreateUserInput{UserName: aws.String("Ann"), Tags: []types.Tag{{Key: aws.String("team"), Value: aws.String("a")}}}); err != nil {
		t.Fatal(err)
	}
	own := servertest.Allow(`"s3:Put*"`, "arn:aws:s3:::b/${aws:username}/*", `{"StringEquals":{"aws:PrincipalTag/team":"a"}}`)
	if _, err := client.PutUserPolicy(t.Context(), &iam.PutUserPolicyInput{UserName: aws.String("Ann"), PolicyName: aws.String("own"), PolicyDocument: &own}); err != nil {
		t.Fatal(err)
	}
	list := newPolicy(t, client, "list", servertest.Allow(`"iam:List*"`, "*", ""))
	for _, arn := range []string{*list, s3Read} {
		if _, err := client.AttachUserPolicy(t.Context(), &iam.AttachUserPolicyInput{UserName: aws.String("Ann"), PolicyArn: &arn}); err != nil {
			t.Fatal(err)
		}
	}
	ann := "arn:aws:iam::111122223333:user/Ann"
	simulate := func(principal string, change func(*iam.SimulatePrincipalPolicyInput)) (map[string]string, error) {
		in := &iam.SimulatePrincipalPolicyInput{
			PolicySourceArn: &principal, ActionNames: []string{"s3:PutObject", "s3:GetObject", "iam:ListRoles", "iam:GetRole"}, ResourceArns: []string{"arn:aws:s3:::b/Ann/1"},
		}
		if change != nil {
			change(in)
		}
		out, err := client.SimulatePrincipalPolicy(t.Context(), in)
		if err != nil {
			return nil, err
		}
		got := map[string]string{}
		for _, r := range out.EvaluationResults {
			got[*r.EvalActionName] = string(r.EvalDecision)
			for _, m := range r.MatchedStatements {
				got[*r.EvalActionName] += " " + *m.SourcePolicyId + " " + string(m.SourcePolicyType)
			}
		}
		return got, nil
	}
	check := func(t *testing.T, got map[string]string, err error, want map[string]string) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
	t.Run("user", func(t *testing.T) {
		got, err := simulate(ann, nil)
		check(t, got, err, map[string]string{
			"s3:PutObject": "allowed own user", "s3:GetObject": "allowed AmazonS3ReadOnlyAccess aws-managed",
			"iam:ListRoles": "allowed list user-managed", "iam:GetRole": "implicitDeny",
		})
	})
	t.Run("with more policies", func(t *testing.T) {
		got, err := simulate(ann, func(in *iam.SimulatePrincipalPolicyInput) {
			in.PolicyInputList = []string{strings.Replace(servertest.Allow(`"s3:*"`, "*", ""), "Allow", "Deny", 1)}
			in.ActionNames = in.ActionNames[:2]
		})
		check(t, got, err, map[string]string{"s3:PutObject": "explicitDeny PolicyInputList.1 none", "s3:GetObject": "explicitDeny PolicyInputList.1 none"})
	})
	t.Run("with another tag", func(t *testing.T) {
		got, err := simulate(ann, func(in *iam.SimulatePrincipalPolicyInput) {
			in.ContextEntries = []types.ContextEntry{{ContextKeyName: aws.String("aws:principaltag/Team"), ContextKeyType: "string", ContextKeyValues: []string{"b"}}}
			in.ActionNames = in.ActionNames[:1]
		})
		check(t, got, err, map[string]string{"s3:PutObject": "implicitDeny"})
	})
	t.Run("with its boundary", func(t *testing.T) {
		if _, err := client.PutUserPermissionsBoundary(t.Context(), &iam.PutUserPermissionsBoundaryInput{UserName: aws.String("Ann"), PermissionsBoundary: list}); err != nil {
			t.Fatal(err)
		}
		got, err := simulate(ann, nil)
		check(t, got, err, map[string]string{
			"s3:PutObject": "implicitDeny", "s3:GetObject": "implicitDeny", "iam:ListRoles": "allowed list user-managed", "iam:GetRole": "implicitDeny",
		})
	})
	t.Run("role", func(t *testing.T) {
		role := s.MakeRole("web", servertest.PodTrust, servertest.Allow(`"s3:GetObject"`, "*", ""))
		got, err := simulate(role, nil)
		check(t, got, err, map[string]string{
			"s3:PutObject": "implicitDeny", "s3:GetObject": "allowed own role", "iam:ListRoles": "implicitDeny", "iam:GetRole": "implicitDeny",
		})
		_, err = simulate(role, func(in *iam.SimulatePrincipalPolicyInput) { in.ResourcePolicy = aws.String(servertest.AllowAll) })
		servertest.WantRefused(t, err, "InvalidInput", 400, "ResourcePolicy")
	})
	for arn, code := range map[string]string{
		"arn:aws:iam::111122223333:user/none": "NoSuchEntity", "arn:aws:iam::444455556666:user/Ann": "NoSuchEntity", "arn:aws:s3:::b": "InvalidInput",
	} {
		_, err := simulate(arn, nil)
		servertest.WantRefused(t, err, code, map[string]int{"NoSuchEntity": 404, "InvalidInput": 400}[code], arn)
	}

	t.Run("context keys", func(t *testing.T) {
		out, err := client.GetContextKeysForPrincipalPolicy(t.Context(), &iam.GetContextKeysForPrincipalPolicyInput{
			PolicySourceArn: &ann, PolicyInputList: []string{servertest.Allow(`"s3:*"`, "*", `{"Bool":{"aws:SecureTransport":"true"},"StringEquals":{"AWS:UserName":"x"}}`)},
		})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"aws:SecureTransport", "AWS:UserName", "aws:PrincipalTag/team"}, out.ContextKeyNames); diff != "" {
			t.Error(diff)
		}
		custom, err := client.GetContextKeysForCustomPolicy(t.Context(), &iam.GetContextKeysForCustomPolicyInput{PolicyInputList: []string{own}})
		if err != nil || !cmp.Equal(custom.ContextKeyNames, []string{"aws:username", "aws:PrincipalTag/team"}) {
			t.Errorf("keys %+v, %v", custom, err)
		}
	})
}

func TestAccount(t *testing.T) {
	s := servertest.New(t, nil)
	client := iam.NewFromConfig(s.Admin)
	s.MakeRole("web", servertest.PodTrust, servertest.AllowAll)
	list := newPolicy(t, client, "list", servertest.AllowAll)
	if _, err := client.AttachRolePolicy(t.Context(), &iam.AttachRolePolicyInput{RoleName: aws.String("web"), PolicyArn: list}); err != nil {
		t.Fatal(err)
	}
	if out, err := client.ListAccountAliases(t.Context(), nil); err != nil || len(out.AccountAliases) > 0 {
		t.Errorf("aliases %+v, %v", out, err)
	}
	summary, err := client.GetAccountSummary(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]int32{"Users": 1, "Roles": 1, "Policies": 1, "Providers": 0, "AccessKeysPerUserQuota": 2,
		"RolesQuota": 1000, "UsersQuota": 5000, "GroupsQuota": 300, "PoliciesQuota": 1500, "MFADevices": 0} {
		if got, ok := summary.SummaryMap[key]; got != want || !ok {
			t.Errorf("%s is %d, want %d", key, got, want)
		}
	}
	details := func(in iam.GetAccountAuthorizationDetailsInput) (users, roles, policies int) {
		pages := iam.NewGetAccountAuthorizationDetailsPaginator(client, &in)
		for pages.HasMorePages() {
			page, err := pages.NextPage(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			users, roles, policies = users+len(page.UserDetailList), roles+len(page.RoleDetailList), policies+len(page.Policies)
			for _, r := range page.RoleDetailList {
				if len(r.RolePolicyList) != 1 || document(t, r.RolePolicyList[0].PolicyDocument) != servertest.AllowAll || len(r.AttachedManagedPolicies) != 1 || document(t, r.AssumeRolePolicyDocument) != servertest.PodTrust {
					t.Errorf("role %+v", r)
				}
			}
			for _, p := range page.Policies {
				if len(p.PolicyVersionList) != 1 || p.PolicyVersionList[0].Document == nil {
					t.Errorf("policy %+v", p)
				}
			}
			for _, u := range page.UserDetailList {
				if *u.UserName != "admin" || len(u.UserPolicyList) != 1 {
					t.Errorf("user %+v", u)
				}
			}
		}
		return users, roles, policies
	}
	if users, roles, policies := details(iam.GetAccountAuthorizationDetailsInput{MaxItems: aws.Int32(2)}); users != 1 || roles != 1 || policies != 8 {
		t.Errorf("%d users, %d roles, %d policies", users, roles, policies)
	}
	filter := []types.EntityType{types.EntityTypeRole, types.EntityTypeLocalManagedPolicy}
	if users, roles, policies := details(iam.GetAccountAuthorizationDetailsInput{Filter: filter}); users != 0 || roles != 1 || policies != 1 {
		t.Errorf("filtered: %d users, %d roles, %d policies", users, roles, policies)
	}
}
