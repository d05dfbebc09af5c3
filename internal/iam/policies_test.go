package iam_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/google/go-cmp/cmp"

	"github.com/podid/podid/internal/server/servertest"
)

func TestRolePolicy(t *testing.T) {
	s := servertest.New(t, nil)
	client, role := iam.NewFromConfig(s.Admin), aws.String("web")
	s.MakeRole("web", servertest.PodTrust, "")
	put := func(name, text string) error {
		_, err := client.PutRolePolicy(t.Context(), &iam.PutRolePolicyInput{RoleName: role, PolicyName: &name, PolicyDocument: &text})
		return err
	}
	names := func(in iam.ListRolePoliciesInput) ([]string, *string) {
		t.Helper()
		in.RoleName = role
		out, err := client.ListRolePolicies(t.Context(), &in)
		if err != nil {
			t.Fatal(err)
		}
		return out.PolicyNames, out.Marker
	}
	text := "\t{\"Version\":\"2012-10-17\",\n \"Statement\":[{\"Sid\":\"A1\",\"Effect\":\"Allow\",\"Action\":\"s3:*\",\"Resource\":\"arn:aws:s3:::b/${aws:username}/a b+c%41é*\"}]}\r\n"
	for _, name := range []string{"a", "B", "c"} {
		if err := put(name, text); err != nil {
			t.Fatal(err)
		}
	}
	out, err := client.GetRolePolicy(t.Context(), &iam.GetRolePolicyInput{RoleName: aws.String("WEB"), PolicyName: aws.String("a")})
	if err != nil {
		t.Fatal(err)
	}
	if got := document(t, out.PolicyDocument); got != text || *out.PolicyName != "a" || *out.RoleName != "web" {
		t.Errorf("got %q back, %+v", got, out)
	}
	if strings.ContainsAny(*out.PolicyDocument, " +\"{}\n") {
		t.Errorf("the document is not percent-encoded: %q", *out.PolicyDocument)
	}
	first, marker := names(iam.ListRolePoliciesInput{MaxItems: aws.Int32(2)})
	rest, end := names(iam.ListRolePoliciesInput{Marker: marker})
	if got := append(first, rest...); !cmp.Equal(got, []string{"B", "a", "c"}) || len(first) != 2 || end != nil {
		t.Errorf("listed %q and %q", first, rest)
	}

	t.Run("a role with policies is not deleted", func(t *testing.T) {
		_, err := client.DeleteRole(t.Context(), &iam.DeleteRoleInput{RoleName: role})
		servertest.WantRefused(t, err, "DeleteConflict", 409, "Cannot delete entity, must delete policies first.")
	})
	t.Run("a policy that is not there", func(t *testing.T) {
		_, err := client.GetRolePolicy(t.Context(), &iam.GetRolePolicyInput{RoleName: role, PolicyName: aws.String("A")})
		servertest.WantRefused(t, err, "NoSuchEntity", 404, "The role policy with name A cannot be found.")
		_, err = client.DeleteRolePolicy(t.Context(), &iam.DeleteRolePolicyInput{RoleName: role, PolicyName: aws.String("A")})
		servertest.WantRefused(t, err, "NoSuchEntity", 404, "The role policy with name A cannot be found.")
	})
	t.Run("too much text", func(t *testing.T) {
		large := servertest.Allow(`"s3:*"`, "arn:aws:s3:::"+strings.Repeat("x", 10000), "")
		servertest.WantRefused(t, put("large", large), "LimitExceeded", 409, "10240")
		padded := strings.Replace(servertest.AllowAll, "{", "{"+strings.Repeat(" \n", 20000), 1)
		if err := put("c", padded); err != nil {
			t.Errorf("white space counts: %v", err)
		}
		if got, _ := names(iam.ListRolePoliciesInput{}); len(got) != 3 {
			t.Errorf("policies %q after a refusal", got)
		}
	})
	t.Run("written by many at once", func(t *testing.T) {
		var all sync.WaitGroup
		for i := range 10 {
			all.Go(func() {
				if err := put(fmt.Sprint("many", i), servertest.AllowAll); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if got, _ := names(iam.ListRolePoliciesInput{}); len(got) != 13 {
			t.Errorf("a policy was lost: %q", got)
		}
	})
	t.Run("deleted", func(t *testing.T) {
		got, _ := names(iam.ListRolePoliciesInput{})
		for _, name := range got {
			if _, err := client.DeleteRolePolicy(t.Context(), &iam.DeleteRolePolicyInput{RoleName: role, PolicyName: &name}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := client.DeleteRole(t.Context(), &iam.DeleteRoleInput{RoleName: role}); err != nil {
			t.Error(err)
		}
	})
}

// A malformed document is refused in IAM's words with the place, by whatever operation brings it, and changes nothing.
func TestMalformedPolicy(t *testing.T) {
	s := servertest.New(t, nil)
	client, role := iam.NewFromConfig(s.Admin), aws.String("web")
	s.MakeRole("web", servertest.PodTrust, servertest.AllowAll)
	for name, tt := range map[string]struct{ text, want, at string }{
		"not JSON":         {"{\"Version\":\"2012-10-17\",\n\"Statement\":[}", "Syntax errors in policy.", "line 2, column"},
		"twice":            {`{"Version":"2012-10-17","Version":"2012-10-17","Statement":[]}`, "Syntax errors in policy.", "line 1, column 25"},
		"old version":      {`{"Version":"2013-01-01","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}`, "Policy document must be version 2012-10-17 or greater.", "line 1, column 12"},
		"no action":        {`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Resource":"*"}}`, "Policy statement must contain actions.", "line 1"},
		"no resource":      {`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:*"}}`, "Policy statement must contain resources.", "line 1"},
		"no vendor":        {`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"GetObject","Resource":"*"}}`, "Actions/Conditions must be prefaced by a vendor", "line 1"},
		"principal":        {`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*","Principal":"*"}}`, "Policy document should not specify a principal.", "line 1"},
		"resource":         {`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:*","Resource":"bucket"}}`, `must be in ARN format or "*".`, "line 1"},
		"Sid twice":        {`{"Version":"2012-10-17","Statement":[{"Sid":"A","Effect":"Allow","Action":"*","Resource":"*"},{"Sid":"A","Effect":"Allow","Action":"*","Resource":"*"}]}`, "Statement IDs (SID) in a single policy must be unique.", "line 1"},
		"unknown operator": {servertest.Allow(`"*"`, "*", `{"StringEqual":{"aws:username":"x"}}`), "Syntax errors in policy.", "line 1"},
		"unknown element":  {`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Actions":"*","Resource":"*"}}`, "Syntax errors in policy.", "line 1"},
		"control byte":     {"{\"Version\":\"2012-10-17\",\"Id\":\"\x01\",\"Statement\":[]}", "Syntax errors in policy.", "line 1"},
		"beyond Latin-1":   {"{\"Version\":\"2012-10-17\",\"Id\":\"€\",\"Statement\":[]}", "Syntax errors in policy.", "line 1"},
		"nothing":          {" ", "Syntax errors in policy.", "line 1"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := client.PutRolePolicy(t.Context(), &iam.PutRolePolicyInput{RoleName: role, PolicyName: aws.String("own"), PolicyDocument: &tt.text})
			servertest.WantRefused(t, err, "MalformedPolicyDocument", 400, tt.want, tt.at)
		})
	}
	for name, tt := range map[string]struct{ text, want string }{
		"not JSON":         {"{", "Syntax errors in policy."},
		"resource":         {`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"sts:AssumeRole","Principal":"*","Resource":"*"}}`, "Has prohibited field Resource"},
		"no principal":     {`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"sts:AssumeRole"}}`, "Principal"},
		"other action":     {servertest.Trust(`"*"`, `"s3:GetObject"`, ""), "AssumeRole policy may only specify STS AssumeRole actions."},
		"partial wildcard": {servertest.Trust(`{"AWS":"arn:aws:iam::111122223333:role/*"}`, `"sts:AssumeRole"`, ""), "Invalid principal in policy"},
		"missing role":     {servertest.Trust(`{"AWS":"arn:aws:iam::111122223333:role/missing"}`, `"sts:AssumeRole"`, ""), `Invalid principal in policy: "AWS":"arn:aws:iam::111122223333:role/missing"`},
		"missing user":     {servertest.Trust(`{"AWS":["arn:aws:iam::111122223333:user/admin","arn:aws:iam::111122223333:user/missing"]}`, `"sts:AssumeRole"`, ""), `"AWS":"arn:aws:iam::111122223333:user/missing"`},
		"role's path":      {servertest.Trust(`{"AWS":"arn:aws:iam::111122223333:role/path/web"}`, `"sts:AssumeRole"`, ""), `"AWS":"arn:aws:iam::111122223333:role/path/web"`},
		"NotPrincipal":     {`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"sts:AssumeRole","NotPrincipal":{"AWS":"111122223333"}}}`, ""},
	} {
		t.Run("trust policy, "+name, func(t *testing.T) {
			_, err := client.CreateRole(t.Context(), &iam.CreateRoleInput{RoleName: aws.String("other"), AssumeRolePolicyDocument: &tt.text})
			servertest.WantRefused(t, err, "MalformedPolicyDocument", 400, tt.want)
			_, err = client.UpdateAssumeRolePolicy(t.Context(), &iam.UpdateAssumeRolePolicyInput{RoleName: role, PolicyDocument: &tt.text})
			servertest.WantRefused(t, err, "MalformedPolicyDocument", 400, tt.want)
		})
	}
	t.Run("trust policy, too long", func(t *testing.T) {
		long := servertest.Trust(`{"Service":"pods.eks.amazonaws.com"}`, `"sts:AssumeRole"`, `{"StringEquals":{"aws:SourceAccount":"`+strings.Repeat("1", 2048)+`"}}`)
		_, err := client.CreateRole(t.Context(), &iam.CreateRoleInput{RoleName: aws.String("other"), AssumeRolePolicyDocument: &long})
		servertest.WantRefused(t, err, "LimitExceeded", 409, "ACLSizePerRole: 2048")
	})
	for _, principal := range []string{`"*"`, `{"AWS":"111122223333"}`, `{"AWS":"arn:aws:iam::444455556666:root"}`, `{"AWS":"` + servertest.RoleARN("web") + `"}`,
		`{"AWS":"arn:aws:sts::111122223333:assumed-role/web/s"}`, `{"Service":["pods.eks.amazonaws.com","ec2.amazonaws.com"],"AWS":"` + servertest.AdminARN + `"}`} {
		text := servertest.Trust(principal, `["sts:AssumeRole"]`, "")
		if _, err := client.UpdateAssumeRolePolicy(t.Context(), &iam.UpdateAssumeRolePolicyInput{RoleName: role, PolicyDocument: &text}); err != nil {
			t.Errorf("principal %s: %v", principal, err)
		}
	}
	out, err := client.GetRolePolicy(t.Context(), &iam.GetRolePolicyInput{RoleName: role, PolicyName: aws.String("own")})
	if err != nil || document(t, out.PolicyDocument) != servertest.AllowAll {
		t.Errorf("the policy from before: %v %v", out, err)
	}
	if _, err := client.GetRole(t.Context(), &iam.GetRoleInput{RoleName: aws.String("other")}); err == nil {
		t.Error("a role was made of a malformed trust policy")
	}
}
