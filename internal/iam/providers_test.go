package iam_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/google/go-cmp/cmp"

	"github.com/podid/podid/internal/server/servertest"
)

func TestChangeProvider(t *testing.T) {
	s := servertest.New(t, nil)
	client := iam.NewFromConfig(s.Admin)
	created, err := client.CreateOpenIDConnectProvider(t.Context(), &iam.CreateOpenIDConnectProviderInput{
		Url: aws.String("https://id.example.com"), ClientIDList: []string{"sts.amazonaws.com"},
	})
	if err != nil {
		t.Fatal(err)
	}
	arn, missing := created.OpenIDConnectProviderArn, aws.String("arn:aws:iam::111122223333:oidc-provider/none.example.com")
	get := func() *iam.GetOpenIDConnectProviderOutput {
		out, err := client.GetOpenIDConnectProvider(t.Context(), &iam.GetOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	add := func(arn *string, id string) error {
		_, err := client.AddClientIDToOpenIDConnectProvider(t.Context(), &iam.AddClientIDToOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn, ClientID: &id})
		return err
	}
	for range 2 {
		if err := add(arn, "other"); err != nil {
			t.Fatal(err)
		}
	}
	if got := get().ClientIDList; !slices.Equal(got, []string{"sts.amazonaws.com", "other"}) {
		t.Errorf("client ids %q", got)
	}
	servertest.WantRefused(t, add(arn, strings.Repeat("x", 256)), "ValidationError", 400, "'clientID'")
	servertest.WantRefused(t, add(missing, "other"), "NoSuchEntity", 404, *missing)
	for i := range 98 {
		if err := add(arn, fmt.Sprint("client", i)); err != nil {
			t.Fatal(err)
		}
	}
	servertest.WantRefused(t, add(arn, "one more"), "LimitExceeded", 409, "100")
	for _, id := range []string{"other", "not there"} {
		_, err := client.RemoveClientIDFromOpenIDConnectProvider(t.Context(), &iam.RemoveClientIDFromOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn, ClientID: &id})
		if err != nil {
			t.Fatal(err)
		}
	}
	if got := get().ClientIDList; len(got) != 99 || slices.Contains(got, "other") {
		t.Errorf("client ids %q", got)
	}
	thumbprint := strings.Repeat("0a", 20)
	for _, tt := range []struct {
		thumbprint, code string
	}{{thumbprint, ""}, {"zz", "ValidationError"}} {
		_, err := client.UpdateOpenIDConnectProviderThumbprint(t.Context(), &iam.UpdateOpenIDConnectProviderThumbprintInput{
			OpenIDConnectProviderArn: arn, ThumbprintList: []string{tt.thumbprint},
		})
		if tt.code != "" {
			servertest.WantRefused(t, err, tt.code, 400)
		} else if err != nil {
			t.Error(err)
		}
	}
	if got := get().ThumbprintList; !slices.Equal(got, []string{thumbprint}) {
		t.Errorf("thumbprints %q", got)
	}

	t.Run("tags", func(t *testing.T) {
		_, err := client.TagOpenIDConnectProvider(t.Context(), &iam.TagOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn, Tags: []types.Tag{
			{Key: aws.String("team"), Value: aws.String("a")}, {Key: aws.String("cost"), Value: aws.String("1")},
		}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.UntagOpenIDConnectProvider(t.Context(), &iam.UntagOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn, TagKeys: []string{"Cost"}}); err != nil {
			t.Fatal(err)
		}
		out, err := client.ListOpenIDConnectProviderTags(t.Context(), &iam.ListOpenIDConnectProviderTagsInput{OpenIDConnectProviderArn: arn})
		if err != nil || len(out.Tags) != 1 || !cmp.Equal(*out.Tags[0].Key, "team") {
			t.Errorf("tags %+v, %v", out, err)
		}
		byTag := iam.NewFromConfig(s.Limited("tagged", servertest.Allow(`"iam:DeleteOpenIDConnectProvider"`, "*", `{"StringEquals":{"aws:ResourceTag/team":"a"}}`)))
		if _, err := byTag.DeleteOpenIDConnectProvider(t.Context(), &iam.DeleteOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn}); err != nil {
			t.Errorf("allowed by its tag: %v", err)
		}
	})
}
