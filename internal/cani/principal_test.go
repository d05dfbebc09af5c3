package cani_test

import (
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/podid/podid/internal/cani"
	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/server"
	"github.com/podid/podid/internal/server/servertest"
)

const (
	readS3   = "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess"
	readDB   = "arn:aws:iam::aws:policy/AmazonDynamoDBReadOnlyAccess"
	userARN  = "arn:aws:iam::" + servertest.AccountID + ":user/"
	ownerARN = "arn:aws:iam::" + servertest.AccountID + ":root"
	member   = "444455556666"
)

// reads tells whether somebody can read the object.
func reads(t *testing.T, by aws.Config) bool {
	t.Helper()
	_, err := s3.NewFromConfig(by, func(o *s3.Options) { o.UsePathStyle = true }).GetObject(t.Context(),
		&s3.GetObjectInput{Bucket: aws.String("data"), Key: aws.String("a/x.txt")})
	if err != nil && !strings.Contains(err.Error(), "AccessDenied") {
		t.Fatal(err)
	}
	return err == nil
}

// check compares an answer with what the principal itself may do, and with what is wanted.
func check(t *testing.T, got *cani.Answer, err error, real bool, want cani.Verdict, broken, says string) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	name, why := "", got.String()
	if got.Broken() != nil {
		name, why = got.Broken().Name, got.Broken().Why
	}
	if got.Verdict != want || name != broken || !strings.Contains(why, says) {
		t.Errorf("got %v, want %s by %q, %q", got, want, broken, says)
	}
	if want != cani.Unknown && real != (want == cani.Allowed) {
		t.Errorf("the principal itself may: %v, want %s", real, want)
	}
}

func TestUsers(t *testing.T) {
	s := newServer(t)
	client := iam.NewFromConfig(s.Admin)
	inGroup := func(group, policy, arn string) func(t *testing.T, user string) {
		return func(t *testing.T, user string) {
			_, err := client.CreateGroup(t.Context(), &iam.CreateGroupInput{GroupName: &group})
			if err == nil && policy != "" {
				_, err = client.PutGroupPolicy(t.Context(), &iam.PutGroupPolicyInput{GroupName: &group, PolicyName: aws.String("shared"), PolicyDocument: &policy})
			}
			if err == nil && arn != "" {
				_, err = client.AttachGroupPolicy(t.Context(), &iam.AttachGroupPolicyInput{GroupName: &group, PolicyArn: &arn})
			}
			if err == nil {
				_, err = client.AddUserToGroup(t.Context(), &iam.AddUserToGroupInput{GroupName: &group, UserName: &user})
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	attached := func(arn string) func(*testing.T, string) {
		return func(t *testing.T, user string) {
			if _, err := client.AttachUserPolicy(t.Context(), &iam.AttachUserPolicyInput{UserName: &user, PolicyArn: &arn}); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, test := range map[string]struct {
		policy   string
		boundary string
		after    func(t *testing.T, user string)
		bucket   string // USER is the ARN
		want     cani.Verdict
		broken   string
		says     string
	}{
		"own policy":          {policy: allow("s3:GetObject", object, ""), want: cani.Allowed, says: `identity-based policy "own"`},
		"nothing":             {want: cani.Denied, broken: "permissions", says: "no identity-based policy"},
		"attached policy":     {after: attached(readS3), want: cani.Allowed, says: `"AmazonS3ReadOnlyAccess"`},
		"group":               {after: inGroup("readers", allow("s3:*", "*", ""), ""), want: cani.Allowed, says: `"shared" of group "readers"`},
		"group denies":        {policy: allowAll, after: inGroup("barred", allowDeny("s3:GetObject"), ""), want: cani.Denied, broken: "permissions", says: `"shared" of group "barred"`},
		"attached to a group": {after: inGroup("attached", "", readS3), want: cani.Allowed, says: `"AmazonS3ReadOnlyAccess" of group "attached"`},
		"boundary":            {policy: allowAll, boundary: readS3, want: cani.Allowed},
		"beyond its boundary": {policy: allowAll, boundary: readDB, want: cani.Denied, broken: "permissions boundary"},
		"its name":            {policy: allow("s3:GetObject", object, `{"StringEquals":{"aws:username":"its-name","aws:PrincipalType":"User","aws:PrincipalArn":"`+userARN+`its-name"},"StringLike":{"aws:userid":"AIDA*"},"Null":{"aws:TokenIssueTime":"true"}}`), want: cani.Allowed},
		"its tags":            {policy: allow("s3:GetObject", object, `{"StringEquals":{"aws:PrincipalTag/team":"web"}}`), want: cani.Allowed},
		"bucket policy":       {bucket: onBucket("Allow", `{"AWS":"USER"}`, ""), want: cani.Allowed, says: `resource-based policy "data"`},
		"bucket, beyond its boundary": { // a user's ARN is the very principal's, which a boundary does not limit
			bucket: onBucket("Allow", `{"AWS":"USER"}`, ""), boundary: readDB, want: cani.Allowed,
		},
		"bucket for everybody, beyond its boundary": {
			bucket: onBucket("Allow", `"*"`, ""), boundary: readDB, want: cani.Denied, broken: "permissions boundary",
		},
		"bucket denies": {policy: allowAll, bucket: onBucket("Deny", `{"AWS":"USER"}`, ""), want: cani.Denied, broken: "resource policy"},
	} {
		t.Run(name, func(t *testing.T) {
			user := strings.Trim(strings.Map(nameByte, name), "-")
			in := &iam.CreateUserInput{UserName: &user, Tags: tags("team", "web")}
			if test.boundary != "" {
				in.PermissionsBoundary = &test.boundary
			}
			_, err := client.CreateUser(t.Context(), in)
			if err == nil && test.policy != "" {
				_, err = client.PutUserPolicy(t.Context(), &iam.PutUserPolicyInput{UserName: &user, PolicyName: aws.String("own"), PolicyDocument: &test.policy})
			}
			if err != nil {
				t.Fatal(err)
			}
			if test.after != nil {
				test.after(t, user)
			}
			key, err := client.CreateAccessKey(t.Context(), &iam.CreateAccessKeyInput{UserName: &user})
			if err != nil {
				t.Fatal(err)
			}
			setBucketPolicy(t, s, strings.ReplaceAll(test.bucket, "USER", userARN+user))
			real := reads(t, s.As(aws.Credentials{AccessKeyID: *key.AccessKey.AccessKeyId, SecretAccessKey: *key.AccessKey.SecretAccessKey}))
			got, err := asker(t, s.Admin).Principal(t.Context(), userARN+user, getObject)
			check(t, got, err, real, test.want, test.broken, test.says)
		})
	}
	setBucketPolicy(t, s, "")
	got, err := asker(t, s.Admin).Principal(t.Context(), userARN+"none", getObject)
	check(t, got, err, false, cani.Denied, "user", "there is no such user")
	got, err = asker(t, s.Admin).Principal(t.Context(), userARN+"team/own-policy", getObject)
	check(t, got, err, false, cani.Denied, "user", "there is no such user")
	got, err = asker(t, s.Admin).Principal(t.Context(), ownerARN, getObject)
	check(t, got, err, true, cani.Allowed, "", "root user")
}

// TestSessions asks about one session of a role, which bucket policies can name.
func TestSessions(t *testing.T) {
	s := newServer(t)
	role := s.MakeRole("web", servertest.TrustAdmin, "")
	bound(readDB)(t, s, "web")
	for name, test := range map[string]struct {
		bucket string
		want   cani.Verdict
		broken string
	}{
		"the session":     {onBucket("Allow", `{"AWS":"arn:aws:sts::111122223333:assumed-role/web/test"}`, ""), cani.Allowed, ""},
		"another session": {onBucket("Allow", `{"AWS":"arn:aws:sts::111122223333:assumed-role/web/other"}`, ""), cani.Denied, "permissions"},
		"the role":        {onBucket("Allow", `{"AWS":"`+role+`"}`, ""), cani.Denied, "permissions boundary"},
		"its id":          {onBucket("Allow", `"*"`, `{"StringLike":{"aws:userid":"AROA*:test"},"ArnEquals":{"aws:PrincipalArn":"`+role+`"}}`), cani.Allowed, ""},
	} {
		t.Run(name, func(t *testing.T) {
			setBucketPolicy(t, s, test.bucket)
			got, err := asker(t, s.Admin).Principal(t.Context(), "arn:aws:sts::111122223333:assumed-role/web/test", getObject)
			check(t, got, err, reads(t, s.Session(t, s.Admin, role, nil)), test.want, test.broken, "")
		})
	}
	got, err := asker(t, s.Admin).Principal(t.Context(), "arn:aws:sts::111122223333:assumed-role/none/test", getObject)
	check(t, got, err, false, cani.Denied, "role", "there is no such role")
}

// TestAnotherAccount has a role of one account read a bucket of another. Credentials of either account can read one side only; what the
// other says can be given.
func TestAnotherAccount(t *testing.T) {
	s := newServer(t, func(cfg *server.Config) { cfg.MemberAccountIDs = []string{member} })
	far := s.Session(t, s.Admin, "arn:aws:iam::"+member+":role/OrganizationAccountAccessRole", nil)
	trust := `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"AWS":"` + member + `"},"Action":"sts:AssumeRole"}}`
	for name, policy := range map[string]string{"permitted": allow("s3:*", "*", ""), "barred": ""} {
		client := iam.NewFromConfig(far)
		_, err := client.CreateRole(t.Context(), &iam.CreateRoleInput{RoleName: &name, AssumeRolePolicyDocument: &trust})
		if err == nil && policy != "" {
			_, err = client.PutRolePolicy(t.Context(), &iam.PutRolePolicyInput{RoleName: &name, PolicyName: aws.String("own"), PolicyDocument: &policy})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	readers := map[string]string{"near": "arn:aws:iam::" + member + ":role/OrganizationAccountAccessRole"}
	readers["far"] = s.MakeRole("reader", servertest.Trust(`{"AWS":"`+member+`"}`, `"sts:AssumeRole"`, ""), allowAll)
	lets := onBucket("Allow", `{"AWS":"`+member+`"}`, "")
	for name, test := range map[string]struct {
		role, bucket string
		near         cani.Verdict // asked with credentials of the bucket's account
		far          cani.Verdict // of the role's, and the owner of the bucket is given
		given        cani.Verdict // of the role's, and the bucket's policy is given too
	}{
		"both":        {"permitted", lets, cani.Unknown, cani.Unknown, cani.Allowed},
		"bucket only": {"barred", lets, cani.Unknown, cani.Denied, cani.Denied},
		"role only":   {"permitted", "", cani.Denied, cani.Unknown, cani.Denied},
		"neither":     {"barred", "", cani.Denied, cani.Denied, cani.Denied},
		"bucket denies": {
			"permitted", onBucket("Deny", `"*"`, ""), cani.Denied, cani.Unknown, cani.Denied,
		},
	} {
		t.Run(name, func(t *testing.T) {
			setBucketPolicy(t, s, test.bucket)
			arn := "arn:aws:iam::" + member + ":role/" + test.role
			real := reads(t, s.Session(t, far, arn, func(in *sts.AssumeRoleInput) { in.RoleSessionName = aws.String("test") }))
			ask := func(who string, by aws.Config, req cani.Request, want cani.Verdict) {
				t.Helper()
				got, err := asker(t, by).Principal(t.Context(), arn, req)
				if err != nil || got.Verdict != want || want != cani.Unknown && real != (want == cani.Allowed) {
					t.Errorf("%s: got %v, %v; want %s, and it may: %v", who, got, err, want, real)
				}
			}
			ask("near", s.Admin, getObject, test.near)
			ask("far, who cannot know whose the bucket is", far, getObject, cani.Unknown)
			req, text := getObject, ""
			req.ResourceAccount = servertest.AccountID
			ask("far", far, req, test.far)
			if test.bucket != "" {
				text = `{"Version":"2012-10-17","Statement":[` + test.bucket + `]}`
			}
			req.ResourcePolicy = &text
			ask("given", far, req, test.given)
			for who, by := range map[string]aws.Config{"near": s.Admin, "far": far} {
				all := newAsker(t, cani.Config{AWS: by, ReaderRoles: []string{readers[who]}, Now: time.Now})
				if got, err := all.Principal(t.Context(), arn, getObject); err != nil || got.Verdict != test.given {
					t.Errorf("%s, with a role to read the other account: got %v, %v; want %s", who, got, err, test.given)
				}
			}
		})
	}
}

// TestTargetRoleOfAnotherAccount asks about a pod whose role assumes one of another account.
func TestTargetRoleOfAnotherAccount(t *testing.T) {
	s := newServer(t, func(cfg *server.Config) { cfg.MemberAccountIDs = []string{member} })
	entry := "arn:aws:iam::" + member + ":role/OrganizationAccountAccessRole"
	far := iam.NewFromConfig(s.Session(t, s.Admin, entry, nil))
	target := "arn:aws:iam::" + member + ":role/target"
	role := s.MakeRole("pod", servertest.PodTrust, allow(`sts:*`, target, ""))
	trust := `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"AWS":"` + role + `"},"Action":["sts:AssumeRole","sts:TagSession"],` +
		`"Condition":{"StringEquals":{"sts:ExternalId":"us-west-2/111122223333/` + cluster + `/shop/orders"}}}}`
	policy := allow("sqs:*", "*", `{"StringEquals":{"aws:PrincipalTag/kubernetes-namespace":"shop"}}`)
	_, err := far.CreateRole(t.Context(), &iam.CreateRoleInput{RoleName: aws.String("target"), AssumeRolePolicyDocument: &trust})
	if err == nil {
		_, err = far.PutRolePolicy(t.Context(), &iam.PutRolePolicyInput{RoleName: aws.String("target"), PolicyName: aws.String("own"), PolicyDocument: &policy})
	}
	if err != nil {
		t.Fatal(err)
	}
	orders := identity.Subject{ServiceAccount: identity.ServiceAccount{Namespace: "shop", Name: "orders"}}
	s.Associate(cluster, orders.ServiceAccount, role, func(in *eks.CreatePodIdentityAssociationInput) { in.TargetRoleArn = &target })
	req := cani.Request{Action: "sqs:SendMessage", Resource: "arn:aws:sqs:us-west-2:" + member + ":jobs"}
	for name, test := range map[string]struct {
		readers []string
		action  string
		want    cani.Verdict
		broken  string
		says    string
	}{
		"without a role to read it": {nil, "sqs:SendMessage", cani.Unknown, "target role", "--reader-role"},
		"with one":                  {[]string{entry}, "sqs:SendMessage", cani.Allowed, "", ""},
		"another service":           {[]string{entry}, "sns:Publish", cani.Denied, "permissions", "no identity-based policy"},
	} {
		req.Action = test.action
		req.ResourcePolicy = aws.String("")
		got, err := newAsker(t, cani.Config{AWS: s.Admin, ReaderRoles: test.readers, Now: time.Now}).Pod(t.Context(), cluster, orders, req)
		check(t, got, err, test.want == cani.Allowed, test.want, test.broken, test.says)
		if t.Failed() {
			t.Fatal(name)
		}
	}
	for name, roles := range map[string][]string{"not trusted": {"arn:aws:iam::" + member + ":role/target"}, "none": {"arn:aws:iam::" + member + ":role/none"}} {
		if got, err := newAsker(t, cani.Config{AWS: s.Admin, ReaderRoles: roles, Now: time.Now}).Pod(t.Context(), cluster, orders, req); err == nil ||
			!strings.Contains(err.Error(), "assuming reader role") {
			t.Errorf("%s: got %v, %v", name, got, err)
		}
	}
	for name, roles := range map[string][]string{"no ARN": {"target"}, "two of an account": {entry, target}} {
		if _, err := cani.New(cani.Config{AWS: s.Admin, ReaderRoles: roles, Now: time.Now}); err == nil {
			t.Errorf("%s: got no error", name)
		}
	}
}

func newAsker(t *testing.T, cfg cani.Config) *cani.Asker {
	t.Helper()
	a, err := cani.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// TestResourcePolicy gives the policies of resources that are not read.
func TestResourcePolicy(t *testing.T) {
	s := newServer(t)
	allowed := s.MakeRole("allowed", servertest.TrustAdmin, allow("*", "*", ""))
	nothing := s.MakeRole("nothing", servertest.TrustAdmin, "")
	const queue, farQueue, key = "arn:aws:sqs:us-west-2:111122223333:jobs", "arn:aws:sqs:us-west-2:444455556666:jobs", "arn:aws:kms:us-west-2:111122223333:key/1"
	lets := func(principal string) *string {
		return aws.String(`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"AWS":"` + principal + `"},"Action":"*","Resource":"*"}}`)
	}
	none := aws.String("")
	for name, test := range map[string]struct {
		role, resource string
		policy         *string
		want           cani.Verdict
		broken         string
	}{
		"queue, not given":                {allowed, queue, nil, cani.Allowed, ""},
		"queue, not given, not permitted": {nothing, queue, nil, cani.Denied, "permissions"},
		"queue lets the role":             {nothing, queue, lets(nothing), cani.Allowed, ""},
		"queue lets the account":          {nothing, queue, lets("111122223333"), cani.Denied, "permissions"},
		"queue has none":                  {allowed, queue, none, cani.Allowed, ""},
		"another account's":               {allowed, farQueue, nil, cani.Unknown, "resource policy"},
		"another account's lets":          {allowed, farQueue, lets("111122223333"), cani.Allowed, ""},
		"another account's has none":      {allowed, farQueue, none, cani.Denied, "resource policy"},
		"another account's, not permitted": {
			nothing, farQueue, lets("111122223333"), cani.Denied, "permissions",
		},
		// A key's policy must allow: that of the account leaves it to the account's policies, without it they count for nothing.
		"key, not given":                {allowed, key, nil, cani.Unknown, "resource policy"},
		"key, not given, not permitted": {nothing, key, nil, cani.Unknown, "resource policy"},
		"key lets the account":          {allowed, key, lets(ownerARN), cani.Allowed, ""},
		"key lets the account only":     {nothing, key, lets(ownerARN), cani.Denied, "permissions"},
		"key lets the role":             {nothing, key, lets(nothing), cani.Allowed, ""},
		"key lets another":              {allowed, key, lets(nothing), cani.Denied, "resource policy"},
		"key has none":                  {allowed, key, none, cani.Denied, "resource policy"},
	} {
		req := cani.Request{Action: "sqs:SendMessage", Resource: test.resource, ResourcePolicy: test.policy}
		if test.resource == key {
			req.Action = "kms:Decrypt"
		}
		got, err := asker(t, s.Admin).Principal(t.Context(), test.role, req)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		broken := ""
		if got.Broken() != nil {
			broken = got.Broken().Name
		}
		if unread := strings.Contains(got.String(), "the policy of the resource"); unread != (test.policy == nil && test.resource != key) {
			t.Errorf("%s: says that the policy was not looked at: %v in\n%v", name, unread, got)
		}
		if got.Verdict != test.want || broken != test.broken {
			t.Errorf("%s: got %v, want %s by %q", name, got, test.want, test.broken)
		}
	}
	if _, err := asker(t, s.Admin).Principal(t.Context(), allowed, cani.Request{Action: "sqs:SendMessage", Resource: queue, ResourcePolicy: aws.String("{")}); err == nil {
		t.Error("a policy that is none: got no error")
	}
	for _, arn := range []string{"web", "arn:aws:iam::1:role/web", "arn:aws:iam::111122223333:group/web", "arn:aws:sts::111122223333:assumed-role/web",
		"arn:aws:sts::111122223333:assumed-role/web/a/b", "arn:aws:iam::111122223333:role/", `arn:aws:iam::111122223333:user/a"b`} {
		if got, err := asker(t, s.Admin).Principal(t.Context(), arn, getObject); err == nil {
			t.Errorf("%s: got %v", arn, got)
		}
	}
}

// TestBucketElsewhere asks about a bucket when S3 cannot be asked, or says that another region has it.
func TestBucketElsewhere(t *testing.T) {
	s := servertest.New(t, func(cfg *server.Config) { cfg.S3 = false })
	role := s.MakeRole("web", servertest.TrustAdmin, allowAll)
	got, err := asker(t, s.Admin).Principal(t.Context(), role, getObject)
	check(t, got, err, false, cani.Unknown, "resource policy", "reading the policy of bucket data")
}
