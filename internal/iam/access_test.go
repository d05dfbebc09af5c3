package iam_test

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/google/go-cmp/cmp"

	"github.com/podid/podid/internal/server"
	"github.com/podid/podid/internal/server/servertest"
)

func TestBadInput(t *testing.T) {
	s := servertest.New(t, nil)
	client := iam.NewFromConfig(s.Admin)
	for name, tt := range map[string]struct {
		change func(*iam.CreateRoleInput)
		code   string
		want   string
	}{
		"empty name":        {func(in *iam.CreateRoleInput) { in.RoleName = aws.String("") }, "ValidationError", "'roleName'"},
		"long name":         {func(in *iam.CreateRoleInput) { in.RoleName = aws.String(strings.Repeat("n", 65)) }, "ValidationError", "Member must have length less than or equal to 64"},
		"name with a slash": {func(in *iam.CreateRoleInput) { in.RoleName = aws.String("a/b") }, "ValidationError", "Value 'a/b' at 'roleName'"},
		"name in Cyrillic":  {func(in *iam.CreateRoleInput) { in.RoleName = aws.String("веб") }, "ValidationError", "'roleName'"},
		"path":              {func(in *iam.CreateRoleInput) { in.Path = aws.String("/team") }, "ValidationError", "path"},
		"long path":         {func(in *iam.CreateRoleInput) { in.Path = aws.String("/" + strings.Repeat("p", 511) + "/") }, "ValidationError", "path"},
		"short session":     {func(in *iam.CreateRoleInput) { in.MaxSessionDuration = aws.Int32(3599) }, "ValidationError", "'maxSessionDuration'"},
		"long session":      {func(in *iam.CreateRoleInput) { in.MaxSessionDuration = aws.Int32(43201) }, "ValidationError", "'maxSessionDuration'"},
		"description":       {func(in *iam.CreateRoleInput) { in.Description = aws.String(strings.Repeat("é", 1001)) }, "ValidationError", "'description'"},
		"boundary": {func(in *iam.CreateRoleInput) {
			in.PermissionsBoundary = aws.String("arn:aws:iam::111122223333:role/web")
		}, "InvalidInput", "ARN"},
		"tag": {func(in *iam.CreateRoleInput) {
			in.Tags = []types.Tag{{Key: aws.String("aws:x"), Value: aws.String("")}}
		}, "InvalidInput", "aws:x"},
	} {
		t.Run(name, func(t *testing.T) {
			in := &iam.CreateRoleInput{RoleName: aws.String("ok"), AssumeRolePolicyDocument: aws.String(servertest.PodTrust)}
			tt.change(in)
			_, err := client.CreateRole(t.Context(), in)
			servertest.WantRefused(t, err, tt.code, 400, tt.want)
		})
	}
	t.Run("policy name", func(t *testing.T) {
		for _, name := range []string{"", "a b", strings.Repeat("n", 129)} {
			_, err := client.PutRolePolicy(t.Context(), &iam.PutRolePolicyInput{RoleName: aws.String("ok"), PolicyName: &name, PolicyDocument: aws.String(servertest.AllowAll)})
			servertest.WantRefused(t, err, "ValidationError", 400, "'policyName'")
		}
	})
	t.Run("an operation that is not served", func(t *testing.T) {
		_, err := client.CreateInstanceProfile(t.Context(), &iam.CreateInstanceProfileInput{InstanceProfileName: aws.String("x")})
		servertest.WantRefused(t, err, "InvalidAction", 400, "Could not find operation CreateInstanceProfile for version 2010-05-08")
	})
	out, err := client.ListRoles(t.Context(), nil)
	if err != nil || len(out.Roles) > 0 {
		t.Errorf("something was made of bad input: %v %v", out, err)
	}
}

// The denial names principal, action and resource, the path of the role included, as AWS's does.
func TestDenied(t *testing.T) {
	s := servertest.New(t, nil)
	reader := iam.NewFromConfig(s.Limited("reader", `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":"iam:GetRole","Resource":"*"},
		{"Effect":"Allow","Action":"iam:TagRole","Resource":"*","Condition":{"ForAllValues:StringEquals":{"aws:TagKeys":"team"},"StringEquals":{"aws:RequestTag/team":"a"}}},
		{"Effect":"Allow","Action":"iam:UpdateRole","Resource":"*","Condition":{"StringEquals":{"aws:ResourceTag/team":"a"}}},
		{"Effect":"Allow","Action":"iam:*OpenIDConnectProvider*","Resource":"*"},
		{"Effect":"Deny","Action":"iam:GetRole","Resource":"arn:aws:iam::111122223333:role/secret/*"},
		{"Effect":"Deny","Action":"iam:*","Resource":"arn:aws:iam::111122223333:oidc-provider/id.example.com/a"}]}`))
	admin := iam.NewFromConfig(s.Admin)
	for name, path := range map[string]string{"web": "/", "vault": "/secret/"} {
		if _, err := admin.CreateRole(t.Context(), &iam.CreateRoleInput{RoleName: &name, Path: &path, AssumeRolePolicyDocument: aws.String(servertest.PodTrust)}); err != nil {
			t.Fatal(err)
		}
	}
	who := "User: arn:aws:sts::111122223333:assumed-role/reader/limited is not authorized to perform: "
	_, err := reader.DeleteRole(t.Context(), &iam.DeleteRoleInput{RoleName: aws.String("web")})
	servertest.WantRefused(t, err, "AccessDenied", 403,
		who+"iam:DeleteRole on resource: arn:aws:iam::111122223333:role/web because no identity-based policy allows the iam:DeleteRole action")
	_, err = reader.GetRole(t.Context(), &iam.GetRoleInput{RoleName: aws.String("VAULT")})
	servertest.WantRefused(t, err, "AccessDenied", 403,
		who+"iam:GetRole on resource: arn:aws:iam::111122223333:role/secret/vault with an explicit deny in an identity-based policy")
	_, err = reader.CreateRole(t.Context(), &iam.CreateRoleInput{RoleName: aws.String("new"), Path: aws.String("/x/"), AssumeRolePolicyDocument: aws.String("{")})
	servertest.WantRefused(t, err, "AccessDenied", 403, "iam:CreateRole on resource: arn:aws:iam::111122223333:role/x/new because")
	_, err = reader.ListRoles(t.Context(), &iam.ListRolesInput{PathPrefix: aws.String("/x")})
	servertest.WantRefused(t, err, "AccessDenied", 403, "iam:ListRoles on resource: arn:aws:iam::111122223333:role/x because")
	if _, err := reader.GetRole(t.Context(), &iam.GetRoleInput{RoleName: aws.String("web")}); err != nil {
		t.Errorf("what is allowed: %v", err)
	}

	t.Run("by tags", func(t *testing.T) {
		tag := func(pairs ...string) error {
			in := &iam.TagRoleInput{RoleName: aws.String("web")}
			for i := 0; i < len(pairs); i += 2 {
				in.Tags = append(in.Tags, types.Tag{Key: &pairs[i], Value: &pairs[i+1]})
			}
			_, err := reader.TagRole(t.Context(), in)
			return err
		}
		update := func() error {
			_, err := reader.UpdateRole(t.Context(), &iam.UpdateRoleInput{RoleName: aws.String("web")})
			return err
		}
		servertest.WantRefused(t, tag("team", "b"), "AccessDenied", 403)
		servertest.WantRefused(t, tag("team", "a", "other", "x"), "AccessDenied", 403)
		servertest.WantRefused(t, update(), "AccessDenied", 403)
		if err := tag("team", "a"); err != nil {
			t.Error(err)
		}
		if err := update(); err != nil {
			t.Errorf("the role has the tag now: %v", err)
		}
	})
	t.Run("a provider under other spellings of its ARN", func(t *testing.T) {
		_, err := admin.CreateOpenIDConnectProvider(t.Context(), &iam.CreateOpenIDConnectProviderInput{Url: aws.String("https://id.example.com/a")})
		if err != nil {
			t.Fatal(err)
		}
		for arn, want := range map[string]string{
			"arn:aws:iam::111122223333:oidc-provider/id.example.com/a":          "AccessDenied",
			"arn:aws-cn:iam::111122223333:oidc-provider/id.example.com/a":       "NoSuchEntity",
			"arn:aws:iam:us-west-2:111122223333:oidc-provider/id.example.com/a": "NoSuchEntity",
			"arn:aws:iam::111122223333:oidc-provider/id.example.com/a/":         "NoSuchEntity",
			"arn:aws:iam::111122223333:oidc-provider/https://id.example.com/a":  "NoSuchEntity",
		} {
			_, err := reader.DeleteOpenIDConnectProvider(t.Context(), &iam.DeleteOpenIDConnectProviderInput{OpenIDConnectProviderArn: &arn})
			servertest.WantRefused(t, err, want, map[string]int{"AccessDenied": 403, "NoSuchEntity": 404}[want], arn)
		}
	})
}

// Accounts share a store and see nothing of each other.
func TestAccounts(t *testing.T) {
	first := servertest.New(t, nil)
	first.MakeRole("web", servertest.PodTrust, "")
	_, err := iam.NewFromConfig(first.Admin).CreateOpenIDConnectProvider(t.Context(), &iam.CreateOpenIDConnectProviderInput{Url: aws.String("https://id.example.com")})
	if err != nil {
		t.Fatal(err)
	}
	first.Stop()
	second := servertest.Open(t, first.DataDir, func(cfg *server.Config) { cfg.AccountID, cfg.BuiltInClusters = "444455556666", nil })
	client := iam.NewFromConfig(second.Admin)
	_, err = client.GetRole(t.Context(), &iam.GetRoleInput{RoleName: aws.String("web")})
	servertest.WantRefused(t, err, "NoSuchEntity", 404)
	if out, err := client.ListRoles(t.Context(), nil); err != nil || len(out.Roles) > 0 {
		t.Errorf("roles %v of the other account, %v", out, err)
	}
	if out, err := client.ListOpenIDConnectProviders(t.Context(), nil); err != nil || len(out.OpenIDConnectProviderList) > 0 {
		t.Errorf("providers %v of the other account, %v", out, err)
	}
	for _, arn := range []string{"arn:aws:iam::111122223333:oidc-provider/id.example.com", "arn:aws:iam::111122223333:oidc-provider/x::444455556666:oidc-provider/y"} {
		_, err = client.GetOpenIDConnectProvider(t.Context(), &iam.GetOpenIDConnectProviderInput{OpenIDConnectProviderArn: &arn})
		servertest.WantRefused(t, err, "NoSuchEntity", 404, arn)
	}
	out, err := client.CreateRole(t.Context(), &iam.CreateRoleInput{RoleName: aws.String("web"), AssumeRolePolicyDocument: aws.String(servertest.PodTrust)})
	if err != nil || *out.Role.Arn != "arn:aws:iam::444455556666:role/web" {
		t.Errorf("a role of the same name: %v %v", out, err)
	}
}

func TestOpenIDConnectProvider(t *testing.T) {
	s := servertest.New(t, nil)
	client := iam.NewFromConfig(s.Admin)
	thumbprint := strings.Repeat("0a", 20)
	in := func() *iam.CreateOpenIDConnectProviderInput {
		return &iam.CreateOpenIDConnectProviderInput{
			Url: aws.String("https://id.example.com/id/D43C/"), ClientIDList: []string{"sts.amazonaws.com", "other"}, ThumbprintList: []string{thumbprint},
			Tags: []types.Tag{{Key: aws.String("team"), Value: aws.String("a")}},
		}
	}
	created, err := client.CreateOpenIDConnectProvider(t.Context(), in())
	if err != nil {
		t.Fatal(err)
	}
	arn := created.OpenIDConnectProviderArn
	if want := "arn:aws:iam::111122223333:oidc-provider/id.example.com/id/D43C"; *arn != want || len(created.Tags) != 1 {
		t.Errorf("got %s, want %s", *arn, want)
	}
	got, err := client.GetOpenIDConnectProvider(t.Context(), &iam.GetOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn})
	if err != nil {
		t.Fatal(err)
	}
	if *got.Url != "id.example.com/id/D43C" || !cmp.Equal(got.ClientIDList, in().ClientIDList) || !cmp.Equal(got.ThumbprintList, []string{thumbprint}) || got.CreateDate == nil || len(got.Tags) != 1 {
		t.Errorf("got %+v", got)
	}
	if list, err := client.ListOpenIDConnectProviders(t.Context(), nil); err != nil || len(list.OpenIDConnectProviderList) != 1 || *list.OpenIDConnectProviderList[0].Arn != *arn {
		t.Errorf("listed %v %v", list, err)
	}
	for name, tt := range map[string]struct {
		change func(*iam.CreateOpenIDConnectProviderInput)
		code   string
		status int
	}{
		"again":     {func(in *iam.CreateOpenIDConnectProviderInput) { in.Url = aws.String("https://id.example.com/id/D43C") }, "EntityAlreadyExists", 409},
		"no scheme": {func(in *iam.CreateOpenIDConnectProviderInput) { in.Url = aws.String("id.example.com") }, "ValidationError", 400},
		"ftp":       {func(in *iam.CreateOpenIDConnectProviderInput) { in.Url = aws.String("ftp://id.example.com") }, "ValidationError", 400},
		"query":     {func(in *iam.CreateOpenIDConnectProviderInput) { in.Url = aws.String("https://id.example.com?x=1") }, "ValidationError", 400},
		"user":      {func(in *iam.CreateOpenIDConnectProviderInput) { in.Url = aws.String("https://a:b@id.example.com") }, "ValidationError", 400},
		"long": {func(in *iam.CreateOpenIDConnectProviderInput) {
			in.Url = aws.String("https://id.example.com/" + strings.Repeat("p", 255))
		}, "ValidationError", 400},
		"thumbprint": {func(in *iam.CreateOpenIDConnectProviderInput) { in.ThumbprintList = []string{"zz"} }, "ValidationError", 400},
		"6 prints": {func(in *iam.CreateOpenIDConnectProviderInput) {
			in.ThumbprintList = []string{thumbprint, thumbprint, thumbprint, thumbprint, thumbprint, thumbprint}
		}, "InvalidInput", 400},
		"no client": {func(in *iam.CreateOpenIDConnectProviderInput) { in.ClientIDList = []string{""} }, "ValidationError", 400},
		"101 clients": {func(in *iam.CreateOpenIDConnectProviderInput) {
			in.ClientIDList = strings.Split(strings.Repeat("a,", 100)+"a", ",")
		}, "LimitExceeded", 409},
	} {
		t.Run(name, func(t *testing.T) {
			bad := in()
			bad.Url = aws.String("https://other.example.com")
			tt.change(bad)
			_, err := client.CreateOpenIDConnectProvider(t.Context(), bad)
			servertest.WantRefused(t, err, tt.code, tt.status)
		})
	}
	if _, err := client.DeleteOpenIDConnectProvider(t.Context(), &iam.DeleteOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn}); err != nil {
		t.Fatal(err)
	}
	_, err = client.DeleteOpenIDConnectProvider(t.Context(), &iam.DeleteOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn})
	servertest.WantRefused(t, err, "NoSuchEntity", 404, "OpenIDConnect Provider not found for arn "+*arn)
	_, err = client.GetOpenIDConnectProvider(t.Context(), &iam.GetOpenIDConnectProviderInput{OpenIDConnectProviderArn: aws.String("arn:aws:iam::111122223333:role/not-a-provider")})
	servertest.WantRefused(t, err, "ValidationError", 400)
}

// Issuers at http URLs, and ports, are for laboratories.
func TestProviderOfLaboratory(t *testing.T) {
	strict := servertest.New(t, func(cfg *server.Config) { cfg.AllowHTTP = false })
	lax := servertest.New(t, nil)
	for _, url := range []string{"http://127.0.0.1/id", "https://id.example.com:8443"} {
		_, err := iam.NewFromConfig(strict.Admin).CreateOpenIDConnectProvider(t.Context(), &iam.CreateOpenIDConnectProviderInput{Url: &url})
		servertest.WantRefused(t, err, "ValidationError", 400, "Invalid Open ID Connect Provider URL")
		if _, err := iam.NewFromConfig(lax.Admin).CreateOpenIDConnectProvider(t.Context(), &iam.CreateOpenIDConnectProviderInput{Url: &url}); err != nil {
			t.Errorf("%s: %v", url, err)
		}
	}
}
