package eks_test

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/eks"
	"github.com/google/go-cmp/cmp"

	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/server/servertest"
)

func TestTags(t *testing.T) {
	s := servertest.New(t, nil)
	client := eks.NewFromConfig(s.Admin)
	role := s.MakeRole("carts", servertest.PodTrust, "")
	id := s.Associate(servertest.Cluster, identity.ServiceAccount{Namespace: "carts", Name: "carts"}, role, nil)
	for _, arn := range []string{
		"arn:aws:eks:us-west-2:111122223333:podidentityassociation/local/" + id,
		"arn:aws:eks:us-west-2:111122223333:cluster/local",
	} {
		list := func(want map[string]string) {
			t.Helper()
			out, err := client.ListTagsForResource(t.Context(), &eks.ListTagsForResourceInput{ResourceArn: &arn})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, out.Tags); diff != "" {
				t.Errorf("%s: tags, want - got +:\n%s", arn, diff)
			}
		}
		tag := func(tags map[string]string) error {
			_, err := client.TagResource(t.Context(), &eks.TagResourceInput{ResourceArn: &arn, Tags: tags})
			return err
		}
		untag := func(keys ...string) error {
			_, err := client.UntagResource(t.Context(), &eks.UntagResourceInput{ResourceArn: &arn, TagKeys: keys})
			return err
		}
		list(map[string]string{})
		if err := tag(map[string]string{"team": "shop", "stage": "test", "a b": "c/d=e"}); err != nil {
			t.Fatal(err)
		}
		if err := tag(map[string]string{"stage": "prod"}); err != nil {
			t.Fatal(err)
		}
		list(map[string]string{"team": "shop", "stage": "prod", "a b": "c/d=e"})
		if err := untag("stage", "absent", "a b"); err != nil {
			t.Fatal(err)
		}
		list(map[string]string{"team": "shop"})

		const bad = "BadRequestException"
		many := map[string]string{}
		for i := range identity.MaxTags {
			many["k"+strconv.Itoa(i)] = ""
		}
		refused(t, tag(map[string]string{}), bad, http.StatusBadRequest)
		refused(t, tag(map[string]string{"aws:x": ""}), bad, http.StatusBadRequest, "aws:x")
		refused(t, tag(map[string]string{"TEAM": "other"}), bad, http.StatusBadRequest, "team")
		refused(t, tag(many), bad, http.StatusBadRequest, "50")
		list(map[string]string{"team": "shop"})
	}
	for arn, want := range map[string]struct {
		code   string
		status int
	}{
		"arn:aws:eks:us-west-2:111122223333:podidentityassociation/local/a-00000000000000000": {"NotFoundException", 404},
		"arn:aws:eks:us-west-2:111122223333:podidentityassociation/edge/" + id:                {"NotFoundException", 404},
		"arn:aws:eks:us-west-2:444455556666:podidentityassociation/local/" + id:               {"NotFoundException", 404},
		"arn:aws:eks:eu-west-1:111122223333:cluster/local":                                    {"NotFoundException", 404},
		"arn:aws:eks:us-west-2:111122223333:nodegroup/local/a/b":                              {"NotFoundException", 404},
		"arn:aws:iam::111122223333:role/carts":                                                {"BadRequestException", 400},
		"local":                                                                               {"BadRequestException", 400},
	} {
		_, err := client.ListTagsForResource(t.Context(), &eks.ListTagsForResourceInput{ResourceArn: &arn})
		refused(t, err, want.code, want.status, arn)
		_, err = client.TagResource(t.Context(), &eks.TagResourceInput{ResourceArn: &arn, Tags: map[string]string{"a": "b"}})
		refused(t, err, want.code, want.status, arn)
		_, err = client.UntagResource(t.Context(), &eks.UntagResourceInput{ResourceArn: &arn, TagKeys: []string{"a"}})
		refused(t, err, want.code, want.status, arn)
	}
}

// SDKs escape the ARN in the path, its slashes too; other clients do not, and must still be understood.
func TestTagsByEveryPath(t *testing.T) {
	s := servertest.New(t, nil)
	role := s.MakeRole("carts", servertest.PodTrust, "")
	id := s.Associate(servertest.Cluster, identity.ServiceAccount{Namespace: "carts", Name: "carts"}, role, nil)
	arn := "arn:aws:eks:us-west-2:111122223333:podidentityassociation/local/" + id
	escaped := strings.ReplaceAll(url.PathEscape(arn), ":", "%3A")
	if a := s.Send(servertest.Call{Service: "eks", Method: http.MethodPost, Target: "/tags/" + escaped, Body: `{"tags":{"a":"1","b":"2","c":"3"}}`}); a.Status != 200 || a.Body != "{}" {
		t.Errorf("tagging: %d %s", a.Status, a.Body)
	}
	if a := s.Send(servertest.Call{Service: "eks", Method: http.MethodDelete, Target: "/tags/" + escaped + "?tagKeys=a&tagKeys=b"}); a.Status != 200 || a.Body != "{}" {
		t.Errorf("untagging: %d %s", a.Status, a.Body)
	}
	none := s.Send(servertest.Call{Service: "eks", Method: http.MethodDelete, Target: "/tags/" + escaped})
	if got := s.Refusal(none); none.Status != 400 || got.Code != "BadRequestException" {
		t.Errorf("untagging nothing: %d %s", none.Status, none.Body)
	}
	for _, path := range []string{escaped, arn, strings.ReplaceAll(escaped, "%2F", "/")} {
		if a := s.Send(servertest.Call{Service: "eks", Target: "/tags/" + path}); a.Status != 200 || a.Body != `{"tags":{"c":"3"}}` {
			t.Errorf("%s: %d %s", path, a.Status, a.Body)
		}
	}
}

// Tags decide who may do what with an association.
func TestTagsInPolicies(t *testing.T) {
	s := servertest.New(t, nil)
	role := s.MakeRole("carts", servertest.PodTrust, "")
	client := eks.NewFromConfig(s.Limited("shop", `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":"eks:*","Resource":"*","Condition":{"StringEquals":{"aws:ResourceTag/team":"shop"}}},
		{"Effect":"Allow","Action":"eks:CreatePodIdentityAssociation","Resource":"*","Condition":{"StringEquals":{"aws:RequestTag/team":"shop"}}},
		{"Effect":"Deny","Action":["eks:TagResource","eks:UntagResource"],"Resource":"*","Condition":{"ForAnyValue:StringEquals":{"aws:TagKeys":"team"}}},
		{"Effect":"Allow","Action":"iam:PassRole","Resource":"*"}]}`))
	denied := func(err error) {
		t.Helper()
		refused(t, err, "AccessDeniedException", http.StatusForbidden)
	}
	_, err := client.CreatePodIdentityAssociation(t.Context(), create("carts", role))
	denied(err)
	in := create("carts", role)
	in.Tags = map[string]string{"team": "shop"}
	out, err := client.CreatePodIdentityAssociation(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	a := out.Association
	if _, err := client.TagResource(t.Context(), &eks.TagResourceInput{ResourceArn: a.AssociationArn, Tags: map[string]string{"x": "y"}}); err != nil {
		t.Error(err)
	}
	_, err = client.TagResource(t.Context(), &eks.TagResourceInput{ResourceArn: a.AssociationArn, Tags: map[string]string{"team": "other"}})
	denied(err)
	_, err = client.UntagResource(t.Context(), &eks.UntagResourceInput{ResourceArn: a.AssociationArn, TagKeys: []string{"team"}})
	denied(err)

	other := s.Associate(servertest.Cluster, identity.ServiceAccount{Namespace: "other", Name: "other"}, role, nil)
	_, err = client.DeletePodIdentityAssociation(t.Context(), &eks.DeletePodIdentityAssociationInput{ClusterName: a.ClusterName, AssociationId: &other})
	denied(err)
	if _, err := client.DeletePodIdentityAssociation(t.Context(), &eks.DeletePodIdentityAssociationInput{ClusterName: a.ClusterName, AssociationId: a.AssociationId}); err != nil {
		t.Error(err)
	}
}
