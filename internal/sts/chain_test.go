//lint:file-ignore SA1019 the successor of PackedPolicySize is not served yet, and older clients know only PackedPolicySize

package sts_test

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/podid/podid/internal/server/servertest"
)

// client is somebody's calls of S3, by which tests prove what a session may do.
type client struct {
	t  *testing.T
	s3 *s3.Client
}

func buckets(t *testing.T, cfg aws.Config) client {
	return client{t, s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = true })}
}

func (c client) create(name string) error {
	_, err := c.s3.CreateBucket(c.t.Context(), &s3.CreateBucketInput{
		Bucket: &name, CreateBucketConfiguration: &s3types.CreateBucketConfiguration{LocationConstraint: servertest.Region},
	})
	return err
}

func (c client) list(name string) error {
	_, err := c.s3.ListObjectsV2(c.t.Context(), &s3.ListObjectsV2Input{Bucket: &name})
	return err
}

func (c client) delete(name string) error {
	_, err := c.s3.DeleteBucket(c.t.Context(), &s3.DeleteBucketInput{Bucket: &name})
	return err
}

// Session tags need sts:TagSession on both sides, and decide afterwards.
func TestSessionTags(t *testing.T) {
	s := servertest.New(t, nil)
	team := func(value string) func(*sts.AssumeRoleInput) {
		return func(in *sts.AssumeRoleInput) { in.Tags = tags("Team", value) }
	}
	untaggable := s.MakeRole("untaggable", servertest.Trust(account, assume, ""), "")
	taggable := s.MakeRole("taggable", servertest.Trust(account, aTag, `{"StringLike":{"aws:RequestTag/team":["a","b"]}}`),
		servertest.Allow(`"s3:*"`, "arn:aws:s3:::${aws:PrincipalTag/team}-*", ""))

	_, _, err := s.Assume(t, s.Admin, untaggable, team("a"))
	servertest.WantRefused(t, err, "AccessDenied", 403, "User: "+servertest.AdminARN+
		" is not authorized to perform: sts:TagSession on resource: "+untaggable+" because no role trust policy allows the sts:TagSession action")
	_, _, err = s.Assume(t, s.Limited("no-tags", servertest.Allow(assume, "*", "")), taggable, team("a"))
	servertest.WantRefused(t, err, "AccessDenied", 403, "sts:TagSession on resource: "+taggable+" because no identity-based policy allows the sts:TagSession action")
	_, _, err = s.Assume(t, s.Admin, taggable, team("c"))
	servertest.WantRefused(t, err, "AccessDenied", 403, "sts:AssumeRole")
	_, _, err = s.Assume(t, s.Admin, taggable, nil)
	servertest.WantRefused(t, err, "AccessDenied", 403, "sts:AssumeRole")

	a, b := buckets(t, s.Session(t, s.Admin, taggable, team("a"))), buckets(t, s.Session(t, s.Admin, taggable, team("b")))
	if err := a.create("a-data"); err != nil {
		t.Error(err)
	}
	servertest.WantRefused(t, b.list("a-data"), "AccessDenied", 403)

	t.Run("a session tag beats the role's", func(t *testing.T) {
		_, err := iam.NewFromConfig(s.Admin).TagRole(t.Context(), &iam.TagRoleInput{RoleName: aws.String("taggable"), Tags: iamTags("TEAM", "a")})
		if err != nil {
			t.Fatal(err)
		}
		servertest.WantRefused(t, b.list("a-data"), "AccessDenied", 403)
		if err := a.list("a-data"); err != nil {
			t.Error(err)
		}
	})
}

// Transitive tags are handed down along a chain of roles and cannot be replaced; others are not.
func TestTransitiveTags(t *testing.T) {
	s := servertest.New(t, nil)
	first := s.MakeRole("first", servertest.TrustAdmin, servertest.AllowAll)
	second := s.MakeRole("second", servertest.Trust(role("first"), aTag, `{"StringEquals":{"aws:RequestTag/team":"a","aws:PrincipalTag/team":"a"},
		"ForAllValues:StringEquals":{"sts:TransitiveTagKeys":["Team","more"]},"Null":{"aws:RequestTag/own":"true"}}`), servertest.AllowAll)
	third := s.MakeRole("third", servertest.Trust(role("second"), aTag, `{"StringEquals":{"aws:RequestTag/team":"a","aws:RequestTag/more":"x"}}`),
		servertest.Allow(`"s3:CreateBucket"`, "*", `{"StringEquals":{"aws:PrincipalTag/team":"a"},"Null":{"aws:PrincipalTag/own":"true"}}`))

	start := s.Session(t, s.Admin, first, func(in *sts.AssumeRoleInput) {
		in.Tags, in.TransitiveTagKeys = tags("team", "a", "own", "y"), []string{"Team"}
	})
	_, _, err := s.Assume(t, start, second, func(in *sts.AssumeRoleInput) { in.Tags = tags("TEAM", "b") })
	servertest.WantRefused(t, err, "InvalidParameterValue", 400, "transitive tag key")
	middle := s.Session(t, start, second, func(in *sts.AssumeRoleInput) {
		in.Tags, in.TransitiveTagKeys = tags("more", "x"), []string{"more"}
	})
	end, out, err := s.Assume(t, middle, third, nil)
	if err != nil {
		t.Fatal(err)
	}
	if out.PackedPolicySize == nil {
		t.Error("inherited tags have no packed size")
	}
	if err := buckets(t, end).create("chained"); err != nil {
		t.Error(err)
	}
	untagged := s.Session(t, s.Admin, first, nil)
	_, _, err = s.Assume(t, untagged, second, nil)
	servertest.WantRefused(t, err, "AccessDenied", 403)

	t.Run("they need sts:TagSession on every hop", func(t *testing.T) {
		stop := s.MakeRole("stop", servertest.Trust(role("first"), assume, ""), "")
		_, _, err := s.Assume(t, start, stop, nil)
		servertest.WantRefused(t, err, "AccessDenied", 403, "sts:TagSession on resource: "+stop)
		if _, _, err := s.Assume(t, untagged, stop, nil); err != nil {
			t.Error(err)
		}
	})
}

// A source identity needs permission, stays for the whole chain, and decides.
func TestSourceIdentity(t *testing.T) {
	s := servertest.New(t, nil)
	as := func(name string) func(*sts.AssumeRoleInput) {
		return func(in *sts.AssumeRoleInput) { in.SourceIdentity = &name }
	}
	const both = `["sts:AssumeRole","sts:SetSourceIdentity"]`
	first := s.MakeRole("first", servertest.TrustAdmin, servertest.AllowAll)
	second := s.MakeRole("second", servertest.Trust(role("first"), both, ""), servertest.Allow(`"s3:CreateBucket"`, "*", `{"StringEquals":{"aws:SourceIdentity":"ana"}}`))
	without := s.MakeRole("without", servertest.Trust(account, assume, ""), "")

	_, _, err := s.Assume(t, s.Admin, without, as("ana"))
	servertest.WantRefused(t, err, "AccessDenied", 403, "sts:SetSourceIdentity on resource: "+without)
	ana, out, err := s.Assume(t, s.Admin, first, as("ana"))
	if err != nil || aws.ToString(out.SourceIdentity) != "ana" {
		t.Fatalf("%+v %v", out, err)
	}
	_, _, err = s.Assume(t, ana, second, as("bob"))
	servertest.WantRefused(t, err, "InvalidParameterValue", 400, "source identity")
	_, _, err = s.Assume(t, ana, without, nil)
	servertest.WantRefused(t, err, "AccessDenied", 403, "sts:SetSourceIdentity on resource: "+without)
	for name, change := range map[string]func(*sts.AssumeRoleInput){"kept": nil, "again": as("ana")} {
		chained, out, err := s.Assume(t, ana, second, change)
		if err != nil || aws.ToString(out.SourceIdentity) != "ana" {
			t.Fatalf("%s: %+v %v", name, out, err)
		}
		if err := buckets(t, chained).create("by-" + name); err != nil {
			t.Error(err)
		}
	}
	bob := s.Session(t, s.Session(t, s.Admin, first, as("bob")), second, nil)
	servertest.WantRefused(t, buckets(t, bob).create("by-bob"), "AccessDenied", 403)
}

// Sessions end with their role. One that is made again under the same name is another, also to trust policies that named the first.
func TestRoleIsGone(t *testing.T) {
	s := servertest.New(t, nil)
	roles := iam.NewFromConfig(s.Admin)
	s.MakeRole("short-lived", servertest.TrustAdmin, "")
	target := s.MakeRole("target", servertest.Trust(role("short-lived"), assume, ""), "")
	session := s.Session(t, s.Admin, servertest.RoleARN("short-lived"), nil)
	if _, _, err := s.Assume(t, session, target, nil); err != nil {
		t.Fatalf("before: %v", err)
	}
	check := func(t *testing.T) {
		_, _, err := s.Assume(t, session, target, nil)
		servertest.WantRefused(t, err, "InvalidClientTokenId", 403, "The security token included in the request is invalid.")
		_, err = sts.NewFromConfig(session).GetCallerIdentity(t.Context(), nil)
		servertest.WantRefused(t, err, "InvalidClientTokenId", 403)
		if err := buckets(t, session).create("late"); err == nil {
			t.Error("S3 let the session in")
		}
	}
	if _, err := roles.DeleteRole(t.Context(), &iam.DeleteRoleInput{RoleName: aws.String("short-lived")}); err != nil {
		t.Fatal(err)
	}
	t.Run("deleted", check)
	s.MakeRole("short-lived", servertest.TrustAdmin, servertest.AllowAll)
	t.Run("made again", check)
	_, _, err := s.Assume(t, s.Session(t, s.Admin, servertest.RoleARN("short-lived"), nil), target, nil)
	servertest.WantRefused(t, err, "AccessDenied", 403, "because no role trust policy allows the sts:AssumeRole action")
}

func iamTags(pairs ...string) []iamtypes.Tag {
	var list []iamtypes.Tag
	for i := 0; i < len(pairs); i += 2 {
		list = append(list, iamtypes.Tag{Key: &pairs[i], Value: &pairs[i+1]})
	}
	return list
}
