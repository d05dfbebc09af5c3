//lint:file-ignore SA1019 the successor of PackedPolicySize is not served yet, and older clients know only PackedPolicySize

package sts_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"

	"github.com/podid/podid/internal/server/servertest"
)

const (
	assume  = `"sts:AssumeRole"`
	aTag    = `["sts:AssumeRole","sts:TagSession"]`
	account = `{"AWS":"` + servertest.AccountID + `"}`
)

func role(name string) string { return `{"AWS":"` + servertest.RoleARN(name) + `"}` }

func tags(pairs ...string) []types.Tag {
	var list []types.Tag
	for i := 0; i < len(pairs); i += 2 {
		list = append(list, types.Tag{Key: &pairs[i], Value: &pairs[i+1]})
	}
	return list
}

func TestAssumeRole(t *testing.T) {
	s := servertest.New(t, nil)
	name := aws.String("web")
	created, err := iam.NewFromConfig(s.Admin).CreateRole(t.Context(), &iam.CreateRoleInput{
		RoleName: name, Path: aws.String("/team/"), AssumeRolePolicyDocument: aws.String(servertest.TrustAdmin),
	})
	if err != nil {
		t.Fatal(err)
	}
	before := time.Now()
	session, out, err := s.Assume(t, s.Admin, *created.Role.Arn, nil)
	if err != nil {
		t.Fatal(err)
	}
	id := *created.Role.RoleId + ":test"
	const arn = "arn:aws:sts::111122223333:assumed-role/web/test" // without the path
	if u := out.AssumedRoleUser; *u.Arn != arn || *u.AssumedRoleId != id {
		t.Errorf("assumed role user %s %s", *u.Arn, *u.AssumedRoleId)
	}
	if c := out.Credentials; !strings.HasPrefix(*c.AccessKeyId, "ASIA") || len(*c.SecretAccessKey) != 40 || c.Expiration.Sub(before).Round(time.Minute) != time.Hour {
		t.Errorf("credentials %s until %v", *c.AccessKeyId, c.Expiration)
	}
	if out.PackedPolicySize != nil || out.SourceIdentity != nil {
		t.Errorf("a plain session has packed size %v and source identity %v", out.PackedPolicySize, out.SourceIdentity)
	}
	who, err := sts.NewFromConfig(session).GetCallerIdentity(t.Context(), nil)
	if err != nil || *who.Arn != arn || *who.UserId != id || *who.Account != servertest.AccountID {
		t.Errorf("the session is %+v, %v", who, err)
	}
}

// Who may assume a role, by whom its trust policy names and what the caller's own policies say.
func TestTrust(t *testing.T) {
	s := servertest.New(t, nil)
	caller := map[string]aws.Config{
		"admin":      s.Admin,
		"allowed":    s.Limited("allowed", servertest.Allow(assume, "*", "")),
		"unallowed":  s.Limited("unallowed", ""),
		"forbidden":  s.Limited("forbidden", strings.Replace(servertest.Allow(assume, "*", ""), `"Allow"`, `"Deny"`, 1)),
		"restricted": {},
	}
	caller["restricted"] = s.Session(t, s.Admin, servertest.RoleARN("allowed"), func(in *sts.AssumeRoleInput) {
		in.Policy = aws.String(servertest.Allow(`"s3:*"`, "*", ""))
	})
	roles := map[string]string{
		"account":  account,
		"root":     `{"AWS":"arn:aws:iam::111122223333:root"}`,
		"everyone": `"*"`,
		"user":     `{"AWS":"` + servertest.AdminARN + `"}`,
		"roles":    `{"AWS":["` + servertest.RoleARN("allowed") + `","` + servertest.RoleARN("unallowed") + `","` + servertest.RoleARN("forbidden") + `"]}`,
		"session":  `{"AWS":["arn:aws:sts::111122223333:assumed-role/unallowed/limited","arn:aws:sts::111122223333:assumed-role/allowed/test"]}`,
		"other":    `{"AWS":"arn:aws:iam::444455556666:root"}`,
		"service":  `{"Service":"pods.eks.amazonaws.com"}`,
	}
	for name, principal := range roles {
		s.MakeRole("to-"+name, servertest.Trust(principal, assume, ""), "")
	}
	const (
		ok       = ""
		identity = "because no identity-based policy allows the sts:AssumeRole action"
		denied   = "with an explicit deny in an identity-based policy"
		trust    = "because no role trust policy allows the sts:AssumeRole action"
		session  = "because no session policy allows the sts:AssumeRole action"
	)
	for name, want := range map[string]map[string]string{
		"account":  {"admin": ok, "allowed": ok, "unallowed": identity, "forbidden": denied, "restricted": session},
		"root":     {"admin": ok, "allowed": ok, "unallowed": identity},
		"everyone": {"admin": ok, "allowed": ok, "unallowed": identity},
		"user":     {"admin": ok, "allowed": trust},
		// In the account, a trust policy that names the role or session needs no policy of the caller's beside it.
		"roles":   {"admin": trust, "allowed": ok, "unallowed": ok, "forbidden": denied, "restricted": session},
		"session": {"admin": trust, "allowed": trust, "unallowed": ok, "restricted": ok},
		"other":   {"admin": trust, "allowed": trust},
		"service": {"admin": trust, "allowed": trust},
		"missing": {"admin": trust, "allowed": trust, "unallowed": trust},
	} {
		for who, reason := range want {
			t.Run(who+" to "+name, func(t *testing.T) {
				_, _, err := s.Assume(t, caller[who], servertest.RoleARN("to-"+name), nil)
				if reason == ok {
					if err != nil {
						t.Error(err)
					}
					return
				}
				servertest.WantRefused(t, err, "AccessDenied", 403,
					" is not authorized to perform: sts:AssumeRole on resource: "+servertest.RoleARN("to-"+name)+" "+reason)
			})
		}
	}
}

// A role that is not there is refused exactly as one that does not trust the caller, also where something else is wrong as well.
func TestMissingRoleLooksUntrusting(t *testing.T) {
	s := servertest.New(t, nil)
	s.MakeRole("closed", servertest.PodTrust, "")
	s.MakeRole("first", servertest.TrustAdmin, servertest.AllowAll)
	tagged := s.Session(t, s.Admin, servertest.RoleARN("first"), func(in *sts.AssumeRoleInput) {
		in.Tags, in.TransitiveTagKeys, in.SourceIdentity = tags("team", "a"), []string{"team"}, aws.String("ana")
	})
	for name, change := range map[string]func(*sts.AssumeRoleInput){
		"plain":                   nil,
		"too long for any role":   func(in *sts.AssumeRoleInput) { in.DurationSeconds = aws.Int32(3600) },
		"tags":                    func(in *sts.AssumeRoleInput) { in.Tags = tags("x", "y") },
		"inherited tag":           func(in *sts.AssumeRoleInput) { in.Tags = tags("Team", "b") },
		"another source identity": func(in *sts.AssumeRoleInput) { in.SourceIdentity = aws.String("bob") },
		"more than may be packed": func(in *sts.AssumeRoleInput) {
			in.Tags = tags("x", strings.Repeat("v", 256), "y", strings.Repeat("v", 256))
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, closed := s.Assume(t, tagged, servertest.RoleARN("closed"), change)
			_, _, missing := s.Assume(t, tagged, servertest.RoleARN("absent"), change)
			mask := func(err error, role string) string {
				text := strings.ReplaceAll(err.Error(), role, "ROLE")
				_, text, _ = strings.Cut(text, "api error")
				return text
			}
			if a, b := mask(closed, "closed"), mask(missing, "absent"); a != b || a == "" {
				t.Errorf("a role that trusts others: %s\na role that is missing:    %s", a, b)
			}
		})
	}
}

func TestExternalID(t *testing.T) {
	s := servertest.New(t, nil)
	arn := s.MakeRole("partner", servertest.Trust(account, assume, `{"StringEquals":{"sts:ExternalId":"us-west-2/1:a@b.c=d,e+f_g-h"}}`), "")
	with := func(id *string) error {
		_, _, err := s.Assume(t, s.Admin, arn, func(in *sts.AssumeRoleInput) { in.ExternalId = id })
		return err
	}
	if err := with(aws.String("us-west-2/1:a@b.c=d,e+f_g-h")); err != nil {
		t.Error(err)
	}
	servertest.WantRefused(t, with(nil), "AccessDenied", 403)
	servertest.WantRefused(t, with(aws.String("other")), "AccessDenied", 403)
}

// What a session may do is what both the role's policies and the session policy allow.
func TestSessionPolicy(t *testing.T) {
	s := servertest.New(t, nil)
	arn := s.MakeRole("reader", servertest.TrustAdmin, servertest.Allow(`["s3:CreateBucket","s3:ListBucket"]`, "*", ""))
	session := s.Session(t, s.Admin, arn, func(in *sts.AssumeRoleInput) {
		in.Policy = aws.String(servertest.Allow(`["s3:CreateBucket","s3:PutObject","s3:DeleteBucket"]`, "arn:aws:s3:::mine*", ""))
	})
	b := buckets(t, session)
	if err := b.create("mine"); err != nil {
		t.Errorf("both allow: %v", err)
	}
	servertest.WantRefused(t, b.create("yours"), "AccessDenied", 403, "because no session policy allows the s3:CreateBucket action")
	servertest.WantRefused(t, b.list("mine"), "AccessDenied", 403, "because no session policy allows the s3:ListBucket action")
	servertest.WantRefused(t, b.delete("mine"), "AccessDenied", 403, "because no identity-based policy allows the s3:DeleteBucket action")
	if err := buckets(t, s.Session(t, s.Admin, arn, nil)).list("mine"); err != nil {
		t.Errorf("without the session policy: %v", err)
	}
	deny := s.Session(t, s.Admin, arn, func(in *sts.AssumeRoleInput) {
		in.Policy = aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Deny","Action":"s3:ListBucket","Resource":"*"}]}`)
	})
	servertest.WantRefused(t, buckets(t, deny).list("mine"), "AccessDenied", 403, "with an explicit deny in a session policy")
}

func TestDuration(t *testing.T) {
	s := servertest.New(t, nil)
	arn := s.MakeRole("short", servertest.Trust(account, assume, ""), servertest.AllowAll)
	long := s.MakeRole("long", servertest.Trust(account, assume, ""), "")
	_, err := iam.NewFromConfig(s.Admin).UpdateRole(t.Context(), &iam.UpdateRoleInput{RoleName: aws.String("long"), MaxSessionDuration: aws.Int32(43200)})
	if err != nil {
		t.Fatal(err)
	}
	session := s.Session(t, s.Admin, arn, nil)
	const constraint, maximum, chain = "'durationSeconds'", "exceeds the MaxSessionDuration set for this role", "exceeds the 1 hour session limit for roles assumed by role chaining."
	for _, tt := range []struct {
		by      aws.Config
		role    string
		seconds int32
		want    string
	}{
		{s.Admin, arn, 900, ""}, {s.Admin, arn, 3600, ""}, {s.Admin, long, 43200, ""}, {session, long, 3600, ""},
		{s.Admin, arn, 899, constraint}, {s.Admin, long, 43201, constraint}, {s.Admin, long, -1, constraint},
		{s.Admin, arn, 3601, maximum}, {session, long, 3601, chain},
	} {
		t.Run(strconv.Itoa(int(tt.seconds))+tt.want, func(t *testing.T) {
			_, out, err := s.Assume(t, tt.by, tt.role, func(in *sts.AssumeRoleInput) { in.DurationSeconds = &tt.seconds })
			if tt.want != "" {
				servertest.WantRefused(t, err, "ValidationError", 400, tt.want)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if left := time.Until(*out.Credentials.Expiration); left > time.Duration(tt.seconds)*time.Second || left < time.Duration(tt.seconds-60)*time.Second {
				t.Errorf("the session lasts %v", left)
			}
		})
	}
}

func TestAssumeRoleInput(t *testing.T) {
	s := servertest.New(t, nil)
	arn := s.MakeRole("web", servertest.TrustAdmin, "")
	long := strings.Repeat("x", 256)
	var fifty []string
	for i := range 51 {
		fifty = append(fifty, "k"+strconv.Itoa(i), "")
	}
	var large []string
	for i := range 50 {
		large = append(large, "k"+strconv.Itoa(i)+long[:120], long)
	}
	for name, tt := range map[string]struct {
		change func(*sts.AssumeRoleInput)
		code   string
		want   string
	}{
		"short name":           {func(in *sts.AssumeRoleInput) { in.RoleSessionName = aws.String("a") }, "ValidationError", "'roleSessionName'"},
		"long name":            {func(in *sts.AssumeRoleInput) { in.RoleSessionName = aws.String(strings.Repeat("n", 65)) }, "ValidationError", "at 'roleSessionName' failed to satisfy constraint: Member must have length less than or equal to 64"},
		"name with a space":    {func(in *sts.AssumeRoleInput) { in.RoleSessionName = aws.String("a b") }, "ValidationError", "'roleSessionName'"},
		"short ARN":            {func(in *sts.AssumeRoleInput) { in.RoleArn = aws.String("web") }, "ValidationError", "'roleArn'"},
		"ARN of a user":        {func(in *sts.AssumeRoleInput) { in.RoleArn = aws.String(servertest.AdminARN) }, "ValidationError", "is invalid"},
		"empty policy":         {func(in *sts.AssumeRoleInput) { in.Policy = aws.String("") }, "ValidationError", "'policy'"},
		"long policy":          {func(in *sts.AssumeRoleInput) { in.Policy = aws.String(strings.Repeat(" ", 2049)) }, "ValidationError", "'policy'"},
		"malformed policy":     {func(in *sts.AssumeRoleInput) { in.Policy = aws.String("{\n\"Statement\":[}") }, "MalformedPolicyDocument", "line 2"},
		"policy of a resource": {func(in *sts.AssumeRoleInput) { in.Policy = aws.String(servertest.Trust(`"*"`, `"s3:*"`, "")) }, "MalformedPolicyDocument", ""},
		"external id":          {func(in *sts.AssumeRoleInput) { in.ExternalId = aws.String("a b") }, "ValidationError", "'externalId'"},
		"short external id":    {func(in *sts.AssumeRoleInput) { in.ExternalId = aws.String("a") }, "ValidationError", "'externalId'"},
		"source identity":      {func(in *sts.AssumeRoleInput) { in.SourceIdentity = aws.String("a/b") }, "ValidationError", "'sourceIdentity'"},
		"MFA":                  {func(in *sts.AssumeRoleInput) { in.SerialNumber = aws.String("arn:aws:iam::111122223333:mfa/x") }, "ValidationError", "SerialNumber"},
		"MFA code":             {func(in *sts.AssumeRoleInput) { in.TokenCode = aws.String("123456") }, "ValidationError", "TokenCode"},
		"tag twice":            {func(in *sts.AssumeRoleInput) { in.Tags = tags("Team", "a", "team", "b") }, "InvalidParameterValue", "more than once"},
		"reserved tag":         {func(in *sts.AssumeRoleInput) { in.Tags = tags("aws:x", "a") }, "InvalidParameterValue", "aws:x"},
		"tag's value":          {func(in *sts.AssumeRoleInput) { in.Tags = tags("x", long+"x") }, "InvalidParameterValue", "256"},
		"51 tags":              {func(in *sts.AssumeRoleInput) { in.Tags = tags(fifty...) }, "InvalidParameterValue", "50"},
		"transitive without":   {func(in *sts.AssumeRoleInput) { in.TransitiveTagKeys = []string{"team"} }, "InvalidParameterValue", "team"},
		"51 transitive": {func(in *sts.AssumeRoleInput) {
			in.Tags, in.TransitiveTagKeys = tags("k", ""), strings.Split(strings.Repeat("k,", 50)+"k", ",")
		}, "InvalidParameterValue", "50"},
		"tags over the limit":   {func(in *sts.AssumeRoleInput) { in.Tags = tags("a", long, "b", long, "c", long) }, "PackedPolicyTooLarge", "% of allotted space."},
		"tags far over it":      {func(in *sts.AssumeRoleInput) { in.Tags = tags(large...) }, "PackedPolicyTooLarge", "% of allotted space."},
		"policy over the limit": {func(in *sts.AssumeRoleInput) { in.Policy = aws.String(incompressible(1900)) }, "PackedPolicyTooLarge", "% of allotted space."},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := s.Assume(t, s.Admin, arn, tt.change)
			servertest.WantRefused(t, err, tt.code, 400, tt.want)
		})
	}
	t.Run("packed size", func(t *testing.T) {
		size := func(change func(*sts.AssumeRoleInput)) int32 {
			t.Helper()
			_, out, err := s.Assume(t, s.Admin, arn, change)
			if err != nil || out.PackedPolicySize == nil {
				t.Fatalf("%+v %v", out, err)
			}
			return *out.PackedPolicySize
		}
		small := size(func(in *sts.AssumeRoleInput) { in.Tags = tags("a", "b") })
		large := size(func(in *sts.AssumeRoleInput) { in.Tags = tags("a", long) })
		both := size(func(in *sts.AssumeRoleInput) { in.Tags, in.Policy = tags("a", long), aws.String(servertest.AllowAll) })
		if small < 1 || large <= small || both <= large || both > 100 {
			t.Errorf("packed sizes %d, %d, %d", small, large, both)
		}
	})
}

// incompressible is a policy of about n characters that deflate can do little about.
func incompressible(n int) string {
	var text strings.Builder
	for x := uint64(1); text.Len() < n; {
		x = x*6364136223846793005 + 1442695040888963407
		text.WriteString(strconv.FormatUint(x, 36))
	}
	return servertest.Allow(`"s3:GetObject"`, "arn:aws:s3:::"+text.String()[:n-120], "")
}
