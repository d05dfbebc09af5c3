//lint:file-ignore SA1019 the successor of PackedPolicySize is not served yet, and older clients know only PackedPolicySize

package sts_test

import (
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"

	"github.com/podid/podid/internal/server"
	"github.com/podid/podid/internal/server/servertest"
)

// newUser makes a user with a policy and an access key.
func newUser(t *testing.T, s *servertest.Server, name, policy string) aws.Config {
	t.Helper()
	client := iam.NewFromConfig(s.Admin)
	if _, err := client.CreateUser(t.Context(), &iam.CreateUserInput{UserName: &name, Path: aws.String("/team/"), Tags: iamTags("dept", "a", "site", "x")}); err != nil {
		t.Fatal(err)
	}
	if policy != "" {
		if _, err := client.PutUserPolicy(t.Context(), &iam.PutUserPolicyInput{UserName: &name, PolicyName: aws.String("own"), PolicyDocument: &policy}); err != nil {
			t.Fatal(err)
		}
	}
	key, err := client.CreateAccessKey(t.Context(), &iam.CreateAccessKeyInput{UserName: &name})
	if err != nil {
		t.Fatal(err)
	}
	return s.As(aws.Credentials{AccessKeyID: *key.AccessKey.AccessKeyId, SecretAccessKey: *key.AccessKey.SecretAccessKey})
}

func signWith(s *servertest.Server, c *types.Credentials) aws.Config {
	return s.As(aws.Credentials{AccessKeyID: *c.AccessKeyId, SecretAccessKey: *c.SecretAccessKey, SessionToken: *c.SessionToken})
}

func sessionToken(t *testing.T, s *servertest.Server, by aws.Config) aws.Config {
	t.Helper()
	out, err := sts.NewFromConfig(by).GetSessionToken(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return signWith(s, out.Credentials)
}

func federate(t *testing.T, s *servertest.Server, by aws.Config, change func(*sts.GetFederationTokenInput)) (aws.Config, *sts.GetFederationTokenOutput, error) {
	t.Helper()
	in := &sts.GetFederationTokenInput{Name: aws.String("ana")}
	if change != nil {
		change(in)
	}
	out, err := sts.NewFromConfig(by).GetFederationToken(t.Context(), in)
	if err != nil {
		return aws.Config{}, nil, err
	}
	return signWith(s, out.Credentials), out, nil
}

func whoIs(t *testing.T, cfg aws.Config) *sts.GetCallerIdentityOutput {
	t.Helper()
	out, err := sts.NewFromConfig(cfg).GetCallerIdentity(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// The session that a user has of itself is the user, without IAM and with hardly any of STS.
func TestGetSessionToken(t *testing.T) {
	clock := &servertest.Clock{}
	s := servertest.New(t, func(cfg *server.Config) { cfg.Now = clock.Now })
	user := newUser(t, s, "Ann", `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":["iam:*","sts:*"],"Resource":"*"},
		{"Effect":"Deny","Action":"sts:GetSessionToken","Resource":"*"},
		{"Effect":"Allow","Action":"s3:CreateBucket","Resource":"*","Condition":{
			"StringEquals":{"aws:username":"Ann","aws:PrincipalType":"User","aws:PrincipalTag/dept":"a"},
			"StringLike":{"aws:userid":"AIDA*"},"ArnEquals":{"aws:PrincipalArn":"arn:aws:iam::111122223333:user/team/Ann"}}},
		{"Effect":"Allow","Action":"s3:ListBucket","Resource":"*","Condition":{"Bool":{"aws:MultiFactorAuthPresent":"true"}}},
		{"Effect":"Allow","Action":"s3:DeleteBucket","Resource":"*","Condition":{"Bool":{"aws:MultiFactorAuthPresent":"false"},"Null":{"aws:TokenIssueTime":"false"}}}]}`)
	session := sessionToken(t, s, user) // whatever policies say

	if got, want := whoIs(t, session), whoIs(t, user); *got.Arn != *want.Arn || *got.UserId != *want.UserId || *got.Arn != "arn:aws:iam::111122223333:user/team/Ann" {
		t.Errorf("the session is %s %s, the user %s %s", *got.Arn, *got.UserId, *want.Arn, *want.UserId)
	}
	b := buckets(t, session)
	if err := b.create("anns"); err != nil {
		t.Errorf("what the user may: %v", err)
	}
	servertest.WantRefused(t, b.list("anns"), "AccessDenied", 403)
	servertest.WantRefused(t, buckets(t, user).delete("anns"), "AccessDenied", 403)
	if err := b.delete("anns"); err != nil {
		t.Errorf("what only a session may: %v", err)
	}

	t.Run("IAM", func(t *testing.T) {
		_, err := iam.NewFromConfig(session).ListUsers(t.Context(), nil)
		servertest.WantRefused(t, err, "InvalidClientTokenId", 403, "The security token included in the request is invalid")
	})
	t.Run("STS", func(t *testing.T) {
		client := sts.NewFromConfig(session)
		_, err := client.GetSessionToken(t.Context(), nil)
		servertest.WantRefused(t, err, "AccessDenied", 403, "Cannot call GetSessionToken with session credentials")
		_, _, err = federate(t, s, session, nil)
		servertest.WantRefused(t, err, "AccessDenied", 403, "Cannot call GetFederationToken with session credentials")
		arn := s.MakeRole("long", servertest.Trust(`{"AWS":"arn:aws:iam::111122223333:user/team/Ann"}`, assume, ""), "")
		if _, err := iam.NewFromConfig(s.Admin).UpdateRole(t.Context(), &iam.UpdateRoleInput{RoleName: aws.String("long"), MaxSessionDuration: aws.Int32(7200)}); err != nil {
			t.Fatal(err)
		}
		role := s.Session(t, session, arn, func(in *sts.AssumeRoleInput) { in.DurationSeconds = aws.Int32(7200) }) // it is no chain of roles
		_, err = sts.NewFromConfig(role).GetSessionToken(t.Context(), nil)
		servertest.WantRefused(t, err, "AccessDenied", 403, "Cannot call GetSessionToken with session credentials")
	})
	t.Run("audit", func(t *testing.T) {
		found := 0
		for _, e := range s.Audit() {
			if e["operation"] == "GetSessionToken" && e["code"] == nil {
				found++
				if e["caller"] != *whoIs(t, user).Arn || e["session"] != e["caller"] || !strings.HasPrefix(e["issuedKey"].(string), "ASIA") {
					t.Errorf("entry %v", e)
				}
			}
		}
		if found != 1 {
			t.Errorf("%d entries", found)
		}
	})
	t.Run("input", func(t *testing.T) {
		for name, tt := range map[string]struct {
			in   sts.GetSessionTokenInput
			want string
		}{
			"short": {sts.GetSessionTokenInput{DurationSeconds: aws.Int32(899)}, "'durationSeconds'"},
			"long":  {sts.GetSessionTokenInput{DurationSeconds: aws.Int32(129601)}, "'durationSeconds'"},
			"MFA":   {sts.GetSessionTokenInput{SerialNumber: aws.String("arn:aws:iam::111122223333:mfa/Ann"), TokenCode: aws.String("123456")}, "Multi-factor"},
		} {
			_, err := sts.NewFromConfig(user).GetSessionToken(t.Context(), &tt.in)
			servertest.WantRefused(t, err, "ValidationError", 400, tt.want)
			if err == nil {
				t.Error(name)
			}
		}
	})
	t.Run("its time", func(t *testing.T) {
		out, err := sts.NewFromConfig(user).GetSessionToken(t.Context(), &sts.GetSessionTokenInput{DurationSeconds: aws.Int32(129600)})
		if err != nil || out.Credentials.Expiration.Sub(clock.Now()).Round(time.Hour) != 36*time.Hour {
			t.Fatalf("%+v %v", out, err)
		}
		long := signWith(s, out.Credentials)
		clock.Advance(12*time.Hour + time.Minute)
		_, err = sts.NewFromConfig(session).GetCallerIdentity(t.Context(), nil)
		servertest.WantRefused(t, err, "ExpiredToken", 403)
		call := servertest.Form("sts", "GetCallerIdentity")
		call.As, call.At = &long, clock.Now()
		if a := s.Send(call); a.Status != 200 {
			t.Errorf("the longer one: %d %s", a.Status, a.Body)
		}
	})
}

// A federated user may do what both its user and the session policies allow, and knows no more of IAM and STS than who it is.
func TestGetFederationToken(t *testing.T) {
	s := servertest.New(t, nil)
	user := newUser(t, s, "Ann", `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":["iam:*","sts:*","s3:CreateBucket","s3:ListBucket"],"Resource":"*"}]}`)
	with := func(text string) func(*sts.GetFederationTokenInput) {
		return func(in *sts.GetFederationTokenInput) { in.Policy = aws.String(text) }
	}
	session, out, err := federate(t, s, user, with(`{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":["iam:*","sts:*","s3:DeleteBucket"],"Resource":"*"},
		{"Effect":"Allow","Action":"s3:CreateBucket","Resource":"*","Condition":{
			"StringEquals":{"aws:PrincipalType":"FederatedUser","aws:userid":"111122223333:ana","aws:PrincipalTag/dept":"a"},
			"ArnEquals":{"aws:PrincipalArn":"arn:aws:sts::111122223333:federated-user/ana"},"Null":{"aws:username":"true"}}}]}`))
	if err != nil {
		t.Fatal(err)
	}
	const arn = "arn:aws:sts::111122223333:federated-user/ana"
	if u := out.FederatedUser; *u.Arn != arn || *u.FederatedUserId != "111122223333:ana" || out.PackedPolicySize == nil {
		t.Errorf("%+v", out)
	}
	if got := whoIs(t, session); *got.Arn != arn || *got.UserId != "111122223333:ana" || *got.Account != servertest.AccountID {
		t.Errorf("the session is %s %s", *got.Arn, *got.UserId)
	}
	b := buckets(t, session)
	if err := b.create("anas"); err != nil {
		t.Errorf("what both allow: %v", err)
	}
	servertest.WantRefused(t, b.list("anas"), "AccessDenied", 403, "User: "+arn+" is not authorized to perform: s3:ListBucket", "because no session policy allows the s3:ListBucket action")
	servertest.WantRefused(t, b.delete("anas"), "AccessDenied", 403, "because no identity-based policy allows the s3:DeleteBucket action")

	t.Run("without session policies it may do nothing", func(t *testing.T) {
		bare, out, err := federate(t, s, user, nil)
		if err != nil || out.PackedPolicySize != nil {
			t.Fatalf("%+v %v", out, err)
		}
		servertest.WantRefused(t, buckets(t, bare).list("anas"), "AccessDenied", 403, "because no session policy allows the s3:ListBucket action")
	})
	t.Run("policies of resources", func(t *testing.T) {
		admin := s3.NewFromConfig(s.Admin, func(o *s3.Options) { o.UsePathStyle = true })
		allow := func(principal string) {
			t.Helper()
			text := `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"AWS":"` + principal + `"},"Action":["s3:ListBucket","s3:DeleteBucket"],"Resource":"arn:aws:s3:::anas"}}`
			if _, err := admin.PutBucketPolicy(t.Context(), &s3.PutBucketPolicyInput{Bucket: aws.String("anas"), Policy: &text}); err != nil {
				t.Fatal(err)
			}
		}
		bare, _, err := federate(t, s, user, nil)
		if err != nil {
			t.Fatal(err)
		}
		allow("arn:aws:iam::111122223333:user/team/Ann") // which is limited by the session policies
		servertest.WantRefused(t, buckets(t, bare).list("anas"), "AccessDenied", 403, "because no session policy allows")
		if err := b.delete("anas"); err != nil {
			t.Errorf("allowed by the bucket's policy and the session's: %v", err)
		}
		if err := b.create("anas"); err != nil {
			t.Fatal(err)
		}
		allow(arn)
		if err := buckets(t, bare).list("anas"); err != nil {
			t.Errorf("a policy that names the federated user is enough: %v", err)
		}
	})
	t.Run("IAM and STS", func(t *testing.T) {
		_, err := iam.NewFromConfig(session).ListUsers(t.Context(), nil)
		servertest.WantRefused(t, err, "InvalidClientTokenId", 403)
		_, err = sts.NewFromConfig(session).GetSessionToken(t.Context(), nil)
		servertest.WantRefused(t, err, "AccessDenied", 403, "Cannot call GetSessionToken with session credentials")
		_, _, err = federate(t, s, session, nil)
		servertest.WantRefused(t, err, "AccessDenied", 403, "Cannot call GetFederationToken with session credentials")
		trusting := s.MakeRole("trusting", servertest.Trust(`{"AWS":"`+arn+`"}`, assume, ""), "")
		_, _, err = s.Assume(t, session, trusting, nil)
		servertest.WantRefused(t, err, "AccessDenied", 403, "Cannot call AssumeRole with session credentials")
	})
	t.Run("tags", func(t *testing.T) {
		tagged, out, err := federate(t, s, user, func(in *sts.GetFederationTokenInput) {
			in.Tags = tags("Dept", "b", "own", "y")
			in.Policy = aws.String(servertest.Allow(`"s3:CreateBucket"`, "arn:aws:s3:::${aws:PrincipalTag/dept}-${aws:PrincipalTag/own}-${aws:PrincipalTag/site}", ""))
		})
		if err != nil || out.PackedPolicySize == nil {
			t.Fatalf("%+v %v", out, err)
		}
		if err := buckets(t, tagged).create("b-y-x"); err != nil {
			t.Errorf("session tags go over the user's: %v", err)
		}
		limited := newUser(t, s, "Bob", servertest.Allow(`"sts:GetFederationToken"`, "arn:aws:sts::111122223333:federated-user/ana", ""))
		_, _, err = federate(t, s, limited, func(in *sts.GetFederationTokenInput) { in.Tags = tags("a", "b") })
		servertest.WantRefused(t, err, "AccessDenied", 403, "sts:TagSession on resource: "+arn)
		_, _, err = federate(t, s, limited, func(in *sts.GetFederationTokenInput) { in.Name = aws.String("eve") })
		servertest.WantRefused(t, err, "AccessDenied", 403, "sts:GetFederationToken on resource: arn:aws:sts::111122223333:federated-user/eve")
		if _, _, err := federate(t, s, limited, nil); err != nil {
			t.Error(err)
		}
	})
	t.Run("of a user only", func(t *testing.T) {
		_, _, err := federate(t, s, s.Session(t, s.Admin, s.MakeRole("web", servertest.TrustAdmin, servertest.AllowAll), nil), nil)
		servertest.WantRefused(t, err, "AccessDenied", 403, "Cannot call GetFederationToken with session credentials")
	})
	t.Run("input", func(t *testing.T) {
		for name, tt := range map[string]struct {
			change     func(*sts.GetFederationTokenInput)
			code, want string
		}{
			"short name": {func(in *sts.GetFederationTokenInput) { in.Name = aws.String("a") }, "ValidationError", "'name'"},
			"long name":  {func(in *sts.GetFederationTokenInput) { in.Name = aws.String(strings.Repeat("n", 33)) }, "ValidationError", "'name'"},
			"name":       {func(in *sts.GetFederationTokenInput) { in.Name = aws.String("a/b") }, "ValidationError", "'name'"},
			"duration":   {func(in *sts.GetFederationTokenInput) { in.DurationSeconds = aws.Int32(129601) }, "ValidationError", "'durationSeconds'"},
			"policy":     {with("{"), "MalformedPolicyDocument", ""},
			"too much":   {with(incompressible(1900)), "PackedPolicyTooLarge", "%"},
			"tags":       {func(in *sts.GetFederationTokenInput) { in.Tags = tags("a", "", "A", "") }, "InvalidParameterValue", "more than once"},
			"managed": {func(in *sts.GetFederationTokenInput) {
				in.PolicyArns = managed("arn:aws:iam::111122223333:policy/absent")
			}, "ValidationError", "does not exist"},
		} {
			t.Run(name, func(t *testing.T) {
				_, _, err := federate(t, s, user, tt.change)
				servertest.WantRefused(t, err, tt.code, 400, tt.want)
			})
		}
	})
	t.Run("audit", func(t *testing.T) {
		issued, used := 0, 0
		for _, e := range s.Audit() {
			if e["operation"] == "GetFederationToken" && e["session"] == arn && e["issuedKey"] != nil {
				issued++
			}
			if e["operation"] == "s3:CreateBucket" && e["caller"] == arn {
				used++
			}
		}
		if issued < 2 || used != 3 {
			t.Errorf("%d entries of sessions, %d of their use", issued, used)
		}
	})
}

// Sessions outlive the key that they were got with, as in AWS, and not the user.
func TestUserSessionsEnd(t *testing.T) {
	s := servertest.New(t, nil)
	client := iam.NewFromConfig(s.Admin)
	name := aws.String("Ann")
	user := newUser(t, s, *name, servertest.AllowAll)
	self := sessionToken(t, s, user)
	federated, _, err := federate(t, s, user, func(in *sts.GetFederationTokenInput) { in.Policy = aws.String(servertest.AllowAll) })
	if err != nil {
		t.Fatal(err)
	}
	working := func(want bool) {
		t.Helper()
		for kind, cfg := range map[string]aws.Config{"its own": self, "a federated user's": federated} {
			_, err := eks.NewFromConfig(cfg).ListClusters(t.Context(), nil)
			if want && err != nil {
				t.Errorf("%s session: %v", kind, err)
			}
			if !want {
				servertest.WantRefused(t, err, "UnrecognizedClientException", 403, "security token included in the request is invalid")
			}
		}
	}
	working(true)
	key, err := user.Credentials.Retrieve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.DeleteAccessKey(t.Context(), &iam.DeleteAccessKeyInput{UserName: name, AccessKeyId: &key.AccessKeyID}); err != nil {
		t.Fatal(err)
	}
	working(true)
	if _, err := client.DeleteUserPolicy(t.Context(), &iam.DeleteUserPolicyInput{UserName: name, PolicyName: aws.String("own")}); err != nil {
		t.Fatal(err)
	}
	for _, cfg := range []aws.Config{self, federated} {
		_, err := eks.NewFromConfig(cfg).ListClusters(t.Context(), nil)
		servertest.WantRefused(t, err, "AccessDeniedException", 403, "because no identity-based policy allows")
	}
	if _, err := client.DeleteUser(t.Context(), &iam.DeleteUserInput{UserName: name}); err != nil {
		t.Fatal(err)
	}
	working(false)
	newUser(t, s, *name, servertest.AllowAll)
	working(false)
}
